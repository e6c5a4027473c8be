//! What `#[derive(Live)]` writes: an implementation of `Live` that asks the type of each field for
//! its shape, in order.
//!
//! A type that contains itself must not compile. One that names itself is refused here, in words;
//! one that does so by way of another is found by the compiler, as its `SIZE` depends on itself.
//! For a type without parameters that is worked out where the type is defined, so that it is found
//! even if nobody asks for the schema.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{
    Data, DeriveInput, Error, Fields, GenericParam, Generics, Ident, Path, Result, parse_quote,
};

use crate::attributes::{Live, Serde};
use crate::spelling::Spelling;

/// The implementation for a type.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let live = Live::of_type(&input.attrs)?;
    let serde = Serde::of(&input.attrs)?;
    let path = live.path.unwrap_or_else(|| parse_quote!(::logo::live_objects));
    let generics = bounded(&input.generics, &path)?;
    let Body { shape, size } = Body::of(input, &serde, &path)?;

    let ident = &input.ident;
    let name = live.name.unwrap_or_else(|| ident.unraw().to_string());
    let name = with_parameters(&name, &generics, &path);
    let version = live.version.unwrap_or(1);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let is_plain = generics.params.is_empty();
    let checked = is_plain.then(|| quote!(const _: usize = <#ident as #path::Live>::SIZE;));
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #path::Live for #ident #type_generics #where_clause {
            const VERSION: u32 = #version;

            const SIZE: usize = #size;

            fn name() -> ::std::string::String {
                #name
            }

            fn shape() -> #path::Shape {
                #shape
            }
        }
        #checked
    })
}

/// The parameters of a type, each of them `Live`.
fn bounded(generics: &Generics, path: &Path) -> Result<Generics> {
    let mut generics = generics.clone();
    for parameter in &mut generics.params {
        match parameter {
            GenericParam::Type(parameter) => parameter.bounds.push(parse_quote!(#path::Live)),
            GenericParam::Lifetime(_) => {
                let says = "a live type owns what it holds: it has no lifetimes";
                return Err(Error::new_spanned(parameter, says));
            }
            GenericParam::Const(_) => {
                let says = "a live type has no constant parameters";
                return Err(Error::new_spanned(parameter, says));
            }
        }
    }
    Ok(generics)
}

fn with_parameters(name: &str, generics: &Generics, path: &Path) -> TokenStream {
    let parameters: Vec<_> = generics.type_params().map(|parameter| &parameter.ident).collect();
    if parameters.is_empty() {
        return quote!(::std::string::String::from(#name));
    }
    quote! {
        ::std::format!(
            "{}<{}>", #name, [#(<#parameters as #path::Live>::name()),*].join(", ")
        )
    }
}

/// What a type is made of, as expressions.
struct Body {
    shape: TokenStream,
    size: TokenStream,
}

impl Body {
    fn of(input: &DeriveInput, serde: &Serde, path: &Path) -> Result<Self> {
        match &input.data {
            Data::Struct(data) => {
                refuse_itself(&data.fields, &input.ident)?;
                let Self { shape, size } = Self::of_fields(&data.fields, serde.rename_all, path)?;
                let shape = quote!(#path::Shape::Struct(#shape));
                Ok(Self { shape, size: quote!(1 #size) })
            }
            Data::Enum(data) => {
                let (mut variants, mut sizes) = (Vec::new(), Vec::new());
                let mut names = Names::default();
                for variant in &data.variants {
                    Live::refuse(&variant.attrs)?;
                    refuse_itself(&variant.fields, &input.ident)?;
                    let own = Serde::of(&variant.attrs)?;
                    let rust_name = variant.ident.unraw().to_string();
                    let name = own.rename.unwrap_or_else(|| match serde.rename_all {
                        Some(spelling) => spelling.of_variant(&rust_name),
                        None => rust_name,
                    });
                    names.add(&name, &variant.ident)?;
                    let spelling = own.rename_all.or(serde.rename_all_fields);
                    let Self { shape, size } = Self::of_fields(&variant.fields, spelling, path)?;
                    variants.push(quote! {
                        #path::Variant {
                            name: ::std::string::String::from(#name),
                            fields: #shape,
                        }
                    });
                    sizes.push(quote!(+ 1 #size));
                }
                let shape = quote!(#path::Shape::Enum(::std::vec![#(#variants),*]));
                Ok(Self { shape, size: quote!(1 #(#sizes)*) })
            }
            Data::Union(data) => {
                let says = "a union has no schema: nobody knows which of its fields is there";
                Err(Error::new_spanned(data.union_token, says))
            }
        }
    }

    /// A struct's or a variant's fields; a single one without a name is a newtype, as in serde.
    fn of_fields(fields: &Fields, spelling: Option<Spelling>, path: &Path) -> Result<Self> {
        let (mut shapes, mut sizes) = (Vec::new(), Vec::new());
        let mut names = Names::default();
        for field in fields {
            Live::refuse(&field.attrs)?;
            let own = Serde::of(&field.attrs)?;
            let ty = &field.ty;
            let shape = quote_spanned!(ty.span()=> <#ty as #path::Live>::shape());
            sizes.push(quote_spanned!(ty.span()=> + <#ty as #path::Live>::SIZE));
            shapes.push(match &field.ident {
                None => shape,
                Some(ident) => {
                    let rust_name = ident.unraw().to_string();
                    let name = own.rename.unwrap_or_else(|| match spelling {
                        Some(spelling) => spelling.of_field(&rust_name),
                        None => rust_name,
                    });
                    names.add(&name, ident)?;
                    quote! {
                        #path::Field { name: ::std::string::String::from(#name), shape: #shape }
                    }
                }
            });
        }
        let shape = match fields {
            Fields::Unit => quote!(#path::Fields::Unit),
            Fields::Unnamed(_) if shapes.len() == 1 => {
                quote!(#path::Fields::Newtype(::std::boxed::Box::new(#(#shapes)*)))
            }
            Fields::Unnamed(_) => quote!(#path::Fields::Tuple(::std::vec![#(#shapes),*])),
            Fields::Named(_) => quote!(#path::Fields::Named(::std::vec![#(#shapes),*])),
        };
        Ok(Self { shape, size: quote!(#(#sizes)*) })
    }
}

/// Refuses fields whose types name the type that they are in. A path to a type of the same name in
/// another module is something else.
fn refuse_itself(fields: &Fields, ident: &Ident) -> Result<()> {
    for ty in fields.iter().map(|field| &field.ty) {
        if mentions(ty.to_token_stream(), ident) {
            let says = format!(
                "`{ident}` contains itself, so that its senders would decide how deep its receivers \
                 recurse: send a sequence of parts that name each other by position"
            );
            return Err(Error::new_spanned(ty, says));
        }
    }
    Ok(())
}

fn mentions(tokens: TokenStream, ident: &Ident) -> bool {
    let mut is_in_path = false;
    for token in tokens {
        let is_found = match &token {
            TokenTree::Ident(found) => !is_in_path && (found == ident || found == "Self"),
            TokenTree::Group(group) => mentions(group.stream(), ident),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        };
        if is_found {
            return true;
        }
        is_in_path = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':');
    }
    false
}

/// The names beside each other so far: JSON must tell them apart.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn add(&mut self, name: &str, ident: &Ident) -> Result<()> {
        if self.0.iter().any(|other| other == name) {
            let says = format!("`{name}` is the name of two: rename one");
            return Err(Error::new_spanned(ident, says));
        }
        self.0.push(name.to_owned());
        Ok(())
    }
}
