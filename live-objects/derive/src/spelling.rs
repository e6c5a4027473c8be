//! Names as serde writes them under `rename_all`.
//!
//! serde takes the names of fields to be in `snake_case` and those of variants in `PascalCase`, and
//! splits them there; so do we, to the letter. (serde_derive keeps its rules to itself.)

/// A way of writing names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spelling {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Spelling {
    /// Every way, by serde's name for it.
    pub(crate) const ALL: [(&'static str, Self); 8] = [
        ("lowercase", Self::Lower),
        ("UPPERCASE", Self::Upper),
        ("PascalCase", Self::Pascal),
        ("camelCase", Self::Camel),
        ("snake_case", Self::Snake),
        ("SCREAMING_SNAKE_CASE", Self::ScreamingSnake),
        ("kebab-case", Self::Kebab),
        ("SCREAMING-KEBAB-CASE", Self::ScreamingKebab),
    ];

    /// The name of a field, from how it is written in Rust.
    pub(crate) fn of_field(self, name: &str) -> String {
        match self {
            Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Pascal => pascal(name),
            Self::Camel => lower_first(&pascal(name)),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// The name of a variant, from how it is written in Rust.
    pub(crate) fn of_variant(self, name: &str) -> String {
        match self {
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Pascal => name.to_owned(),
            Self::Camel => lower_first(name),
            Self::Snake => snake(name),
            Self::ScreamingSnake => snake(name).to_ascii_uppercase(),
            Self::Kebab => snake(name).replace('_', "-"),
            Self::ScreamingKebab => snake(name).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn pascal(field: &str) -> String {
    let mut is_first = true;
    let mut name = String::new();
    for char in field.chars() {
        if char == '_' {
            is_first = true;
        } else {
            name.push(if is_first { char.to_ascii_uppercase() } else { char });
            is_first = false;
        }
    }
    name
}

fn snake(variant: &str) -> String {
    let mut name = String::new();
    for (at, char) in variant.char_indices() {
        if at > 0 && char.is_uppercase() {
            name.push('_');
        }
        name.push(char.to_ascii_lowercase());
    }
    name
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_as_serde_does() {
        let spelt = |spelling: Spelling| {
            let field = spelling.of_field("best_price_2");
            (field, spelling.of_variant("BestPrice"))
        };
        let written = Spelling::ALL.map(|(_, spelling)| spelt(spelling));
        let expected = [
            ("best_price_2", "bestprice"),
            ("BEST_PRICE_2", "BESTPRICE"),
            ("BestPrice2", "BestPrice"),
            ("bestPrice2", "bestPrice"),
            ("best_price_2", "best_price"),
            ("BEST_PRICE_2", "BEST_PRICE"),
            ("best-price-2", "best-price"),
            ("BEST-PRICE-2", "BEST-PRICE"),
        ];
        assert_eq!(written, expected.map(|(field, variant)| (field.into(), variant.into())));
    }
}
