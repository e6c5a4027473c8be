//! What a type says of itself: `#[live(…)]`, and `#[serde(…)]` as far as a schema can honour it.
//!
//! Invariant: an attribute of serde that this file does not know is refused, so that a new one of
//! serde's cannot make a schema lie.

use syn::meta::ParseNestedMeta;
use syn::parse::Parse as _;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result, Token};

use crate::spelling::Spelling;

/// `#[live(…)]` on a type.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u32>,
    /// Where `live_objects` is.
    pub(crate) path: Option<Path>,
}

impl Live {
    pub(crate) fn of_type(attributes: &[Attribute]) -> Result<Self> {
        let mut live = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("live")) {
            attribute.parse_nested_meta(|meta| live.take(&meta))?;
        }
        Ok(live)
    }

    /// Refuses the attribute where it says nothing.
    pub(crate) fn refuse(attributes: &[Attribute]) -> Result<()> {
        match attributes.iter().find(|attribute| attribute.path().is_ident("live")) {
            None => Ok(()),
            Some(attribute) => {
                Err(Error::new_spanned(attribute, "`#[live(…)]` belongs on the type itself"))
            }
        }
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            let name: LitStr = meta.value()?.parse()?;
            if !(1..=NAME_LEN_MAX).contains(&name.value().len()) {
                let says = format!("the name of a schema has 1 to {NAME_LEN_MAX} bytes");
                return Err(Error::new_spanned(name, says));
            }
            once(meta, &mut self.name, name.value())
        } else if meta.path.is_ident("version") {
            let version = meta.value()?.parse::<LitInt>()?.base10_parse()?;
            once(meta, &mut self.version, version)
        } else if meta.path.is_ident("crate") {
            let path = meta.value()?.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?;
            once(meta, &mut self.path, path)
        } else {
            Err(meta.error("`live` knows `name = \"…\"`, `version = …` and `crate = \"…\"`"))
        }
    }
}

/// `#[serde(…)]` on a type, a variant or a field: what it does to names.
#[derive(Default)]
pub(crate) struct Serde {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<Spelling>,
    pub(crate) rename_all_fields: Option<Spelling>,
}

impl Serde {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut serde = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| serde.take(&meta))?;
        }
        Ok(serde)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let named = |word: &str| meta.path.is_ident(word);
        if named("rename") {
            let name = text(meta)?.value();
            once(meta, &mut self.rename, name)
        } else if named("rename_all") {
            let spelling = spelling(meta)?;
            once(meta, &mut self.rename_all, spelling)
        } else if named("rename_all_fields") {
            let spelling = spelling(meta)?;
            once(meta, &mut self.rename_all_fields, spelling)
        } else if HARMLESS.iter().any(|word| named(word)) {
            skip(meta)
        } else {
            let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            Err(meta.error(format!(
                "a schema does not honour serde's `{word}`, so that bytes or JSON would not be as \
                 it says: take it away, or implement `Live` by hand"
            )))
        }
    }
}

fn once<T>(meta: &ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("it is said twice")),
    }
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    if meta.input.peek(syn::token::Paren) {
        return Err(meta.error(
            "a schema has one name for both ways: write `= \"…\"`, not `serialize` and `deserialize`",
        ));
    }
    meta.value()?.parse()
}

fn spelling(meta: &ParseNestedMeta<'_>) -> Result<Spelling> {
    let text = text(meta)?;
    let found = Spelling::ALL.iter().find(|(name, _)| *name == text.value());
    found.map(|(_, spelling)| *spelling).ok_or_else(|| {
        let names = Spelling::ALL.map(|(name, _)| name).join(", ");
        Error::new_spanned(&text, format!("serde spells names in one of {names}"))
    })
}

/// Passes over what follows a word: nothing, `= …` or `(…)`.
fn skip(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        syn::Expr::parse(meta.value()?)?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.input.parse::<proc_macro2::Group>()?;
    }
    Ok(())
}

/// Attributes of serde's that change neither bytes nor JSON.
const HARMLESS: [&str; 4] = ["deny_unknown_fields", "bound", "crate", "expecting"];

/// The same as `live_objects::Schema::NAME_LEN_MAX`.
const NAME_LEN_MAX: usize = 255;
