//! The code that the derive writes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result};

use crate::attribute::Attribute;

/// The implementation of `TypedTask` for a type.
pub(crate) fn typed_task(input: &DeriveInput) -> Result<TokenStream> {
    let Attribute { kind, version, queue, key } = Attribute::of(input)?;
    let queue = match queue {
        Some(queue) => quote!(::core::option::Option::Some(#queue)),
        None => quote!(::core::option::Option::None),
    };
    let key = match key {
        Some(field) => key_of(field_named(input, &field)?),
        None => quote!(::core::option::Option::None),
    };
    let name = &input.ident;
    let (impl_generics, type_generics, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics ::tidegate::TypedTask for #name #type_generics #bounds {
            const KIND: &'static str = #kind;
            const VERSION: u32 = #version;
            const QUEUE: ::core::option::Option<&'static str> = #queue;

            fn key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                #key
            }
        }
    })
}

fn key_of(field: &Ident) -> TokenStream {
    // WHY: spanned like the field, so that a field without a text is reported where it is named.
    let text =
        quote::quote_spanned!(field.span()=> ::std::string::ToString::to_string(&self.#field));
    quote!(::core::option::Option::Some(::std::borrow::Cow::Owned(#text)))
}

/// The field itself, by the name that the attribute gave.
fn field_named<'a>(input: &'a DeriveInput, key: &Ident) -> Result<&'a Ident> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(key.span(), "only a struct with named fields has a key field"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(key.span(), "only a struct with named fields has a key field"));
    };
    let mut names = fields.named.iter().filter_map(|field| field.ident.as_ref());
    names.find(|name| *name == key).ok_or_else(|| {
        let names = fields.named.iter().filter_map(|field| field.ident.as_ref());
        let known: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let why = format!("there is no field `{key}`; the fields are {}", known.join(", "));
        Error::new(key.span(), why)
    })
}
