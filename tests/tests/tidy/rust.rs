//! As much of Rust's grammar as the rules need: what is code, what is comment, what is string.

/// What a character of a source belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Code,
    Comment,
    /// The inside of a string or character literal.
    Literal,
}

/// Every character of a source, in order, with what it belongs to.
pub(super) fn parts(text: &str) -> Vec<(char, Part)> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let (length, part) = lexeme(&chars, at);
        let edge = usize::from(part == Part::Literal);
        for (place, char) in chars[at..at + length].iter().enumerate() {
            let inside = place >= edge && place + edge < length;
            parts.push((*char, if inside { part } else { Part::Code }));
        }
        at += length;
    }
    parts
}

/// The lines of a source, all but its code blanked out.
pub(super) fn code(text: &str) -> Vec<String> {
    let keep = |(char, part)| if part == Part::Code || char == '\n' { char } else { ' ' };
    parts(text).into_iter().map(keep).collect::<String>().lines().map(str::to_owned).collect()
}

/// Whether a line holds this word, or these words, and not as a part of a longer one.
pub(super) fn mentions(line: &str, word: &str) -> bool {
    let is_joined = |end: Option<char>, next: Option<char>| {
        end.is_some_and(is_word_char) && next.is_some_and(is_word_char)
    };
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        !is_joined(word.chars().next(), before.chars().next_back())
            && !is_joined(word.chars().next_back(), after.chars().next())
    })
}

/// The paths that `use` brings in, each written out, with the line where its `use` begins.
pub(super) fn imports(code: &[String]) -> Vec<(usize, String)> {
    let mut imports = Vec::new();
    for (line, trees) in statements(code, "use") {
        let trees: String = trees.split_whitespace().collect::<Vec<_>>().join(" ");
        write_out("", &trees, &mut |path| imports.push((line, path)));
    }
    imports
}

/// The modules of a source that are files of their own.
pub(super) fn modules(text: &str) -> Vec<String> {
    let is_name = |text: &String| !text.is_empty() && text.chars().all(is_word_char);
    statements(&code(text), "mod").into_iter().map(|(_, name)| name).filter(is_name).collect()
}

/// From which line on (counted from 0) a source is its own unit tests.
pub(super) fn tests_begin(code: &[String]) -> Option<usize> {
    code.windows(2).position(|lines| {
        lines[0].trim() == "#[cfg(test)]"
            && lines[1].starts_with("mod ")
            && lines[1].trim_end().ends_with('{')
    })
}

/// How many characters from `at` on belong together, and to what.
fn lexeme(chars: &[char], at: usize) -> (usize, Part) {
    let rest = &chars[at..];
    let is_in_word = at > 0 && is_word_char(chars[at - 1]);
    match rest {
        ['/', '/', ..] => (length_until(rest, |left| left[0] == '\n'), Part::Comment),
        ['/', '*', ..] => (block_comment(rest), Part::Comment),
        ['"', ..] => (quoted(rest, '"'), Part::Literal),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => (quoted(rest, '\''), Part::Literal),
        ['r', '"' | '#', ..] if !is_in_word => raw_string(rest),
        ['b' | 'c', 'r', '"' | '#', ..] if !is_in_word => {
            let (length, part) = raw_string(&rest[1..]);
            (length + 1, part)
        }
        _ => (1, Part::Code),
    }
}

fn length_until(chars: &[char], is_end: impl Fn(&[char]) -> bool) -> usize {
    (0..chars.len()).find(|at| is_end(&chars[*at..])).unwrap_or(chars.len())
}

/// Block comments may hold others.
fn block_comment(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(chars: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    chars.len().min(at + 1)
}

/// `r"…"`, `r#"…"#`, …; `r#name` is no string.
fn raw_string(chars: &[char]) -> (usize, Part) {
    let hashes = chars[1..].iter().take_while(|char| **char == '#').count();
    let body = 1 + hashes;
    if chars.get(body) != Some(&'"') {
        return (1, Part::Code);
    }
    let is_end = |left: &[char]| {
        left[0] == '"' && left[1..].iter().take_while(|char| **char == '#').count() >= hashes
    };
    let inside = length_until(&chars[body + 1..], is_end);
    (chars.len().min(body + 1 + inside + 1 + hashes), Part::Literal)
}

/// What stands between a keyword and its semicolon, with the line where it begins, counted from 1.
fn statements(code: &[String], keyword: &str) -> Vec<(usize, String)> {
    let opening = format!("{keyword} ");
    let mut statements = Vec::new();
    for (index, line) in code.iter().enumerate() {
        let Some(start) = line.find(&opening).filter(|_| mentions(line, keyword)) else { continue };
        let rest = [&line[start + opening.len()..]].into_iter();
        let rest = rest.chain(code[index + 1..].iter().map(String::as_str));
        let text = rest.collect::<Vec<_>>().join("\n");
        if let Some((statement, _)) = text.split_once(';') {
            statements.push((index + 1, statement.trim().to_owned()));
        }
    }
    statements
}

fn write_out(prefix: &str, trees: &str, found: &mut dyn FnMut(String)) {
    let (mut depth, mut start) = (0, 0);
    let mut tree = |tree: &str| match tree.trim().split_once('{') {
        Some((path, inside)) => {
            let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
            write_out(&format!("{prefix}{path}"), inside, found);
        }
        None if tree.trim().is_empty() => (),
        None => found(format!("{prefix}{}", tree.trim())),
    };
    for (at, char) in trees.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                tree(&trees[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    tree(&trees[start..]);
}

fn is_word_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = r###"let a = "x // \" y"; // b
let c = 'd'; let e: &'static str = r#"f " g"#; /* h /* i */ j
*/ let r#k = b'\''; let n = br"l"; let m = '"';"###;
    let code = code(source);
    assert_eq!(code[0].trim_end(), r#"let a = "         ";"#);
    assert_eq!(code[1].trim_end(), r##"let c = ' '; let e: &'static str = r        #;"##);
    assert_eq!(code[2].trim_end(), r#"   let r#k = b'  '; let n = b   "; let m = ' ';"#);
}

#[test]
fn a_word_is_not_found_in_a_longer_one() {
    assert!(mentions("std::fs::read", "std::fs") && mentions("sleep(1)", "sleep("));
    assert!(!mentions("std::fsync", "std::fs") && !mentions("MyHashMap", "HashMap"));
    assert!(mentions("MyHashMap, HashMap", "HashMap"), "the second is");
}

#[test]
fn imports_are_written_out() {
    let source = "use a::b;\npub(crate) use std::{\n    fs as files,\n    net::{self, Udp},\n};\n";
    let written: Vec<_> = imports(&code(source));
    let expected =
        [(1, "a::b"), (2, "std::fs as files"), (2, "std::net::self"), (2, "std::net::Udp")];
    assert_eq!(written, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn modules_in_files_are_told_from_modules_in_place() {
    let source =
        "mod a;\n// mod b;\npub(crate) mod c;\nmod d {\n    use x;\n}\n#[cfg(test)]\nmod e;";
    assert_eq!(modules(source), ["a", "c", "e"]);
}
