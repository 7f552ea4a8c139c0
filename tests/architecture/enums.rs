//! The enums without data that crates declare, as such or by the macros for enums of words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Fields, Item};

/// An enum and the names of its variants, of which there are at least two.
#[derive(Debug)]
pub struct PlainEnum {
    /// The enum.
    pub name: String,
    /// Source file.
    pub file: PathBuf,
    /// Its variants.
    pub variants: BTreeSet<String>,
}

/// The enums of a file, tests left out.
///
/// # Errors
/// Where the file cannot be read or is not Rust.
pub fn enums_of(file: &Path) -> io::Result<Vec<PlainEnum>> {
    let source = syn::parse_file(&fs::read_to_string(file)?)
        .map_err(|e| io::Error::other(format!("{}: {e}", file.display())))?;
    let mut found = Vec::new();
    collect(&source.items, &mut found);
    found.retain(|(_, variants)| variants.len() > 1);
    Ok(found
        .into_iter()
        .map(|(name, variants)| PlainEnum { name, file: file.to_owned(), variants })
        .collect())
}

fn collect(items: &[Item], found: &mut Vec<(String, BTreeSet<String>)>) {
    for item in items {
        match item {
            Item::Mod(module) => {
                let is_test = module.attrs.iter().any(|attribute| {
                    attribute.to_token_stream().to_string().replace(' ', "") == "#[cfg(test)]"
                });
                if let (false, Some((_, items))) = (is_test, &module.content) {
                    collect(items, found);
                }
            }
            Item::Enum(item) if item.variants.iter().all(|v| matches!(v.fields, Fields::Unit)) => {
                found.push((
                    item.ident.to_string(),
                    item.variants.iter().map(|variant| variant.ident.to_string()).collect(),
                ))
            }
            Item::Macro(item) => {
                let name = item.mac.path.segments.last().map(|last| last.ident.to_string());
                if name.is_some_and(|name| name == "words" || name == "choice") {
                    found.extend(declared(item.mac.tokens.clone()));
                }
            }
            _ => {}
        }
    }
}

/// `#[...] Name { #[...] Variant = "word", ... }`
fn declared(tokens: TokenStream) -> Option<(String, BTreeSet<String>)> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let [.., TokenTree::Ident(name), TokenTree::Group(variants)] = tokens.as_slice() else {
        return None;
    };
    let variants: Vec<_> = variants.stream().into_iter().collect();
    let variants = variants.windows(2).filter_map(|pair| match pair {
        [TokenTree::Ident(variant), TokenTree::Punct(sign)] if sign.as_char() == '=' => {
            Some(variant.to_string())
        }
        _ => None,
    });
    Some((name.to_string(), variants.collect()))
}
