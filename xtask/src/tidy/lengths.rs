//! Files and functions that are too long to be read.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Complaint;
use super::sources::Source;

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 600;
/// Longest function, in lines, from its name to its last brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Finds files and functions that are too long.
pub(super) fn check(sources: &[Source]) -> Vec<Complaint> {
    // WHY: compile-fail cases are not meant to be Rust.
    let rust = sources.iter().filter(|source| source.is_rust() && !source.path.contains("/ui/"));
    rust.flat_map(|source| file(source).into_iter().chain(functions(source))).collect()
}

fn file(source: &Source) -> Option<Complaint> {
    let lines = source.text.lines().count();
    let what =
        format!("{lines} lines, {FILE_LINES_MAX} are allowed; find the second idea and move it");
    (lines > FILE_LINES_MAX).then(|| Complaint::new(source.path.clone(), what))
}

fn functions(source: &Source) -> Vec<Complaint> {
    let parsed = match syn::parse_file(&source.text) {
        Ok(parsed) => parsed,
        Err(error) => {
            return vec![Complaint::new(source.path.clone(), format!("is no Rust: {error}"))];
        }
    };
    let mut long = Long { path: &source.path, complaints: Vec::new() };
    long.visit_file(&parsed);
    long.complaints
}

struct Long<'a> {
    path: &'a str,
    complaints: Vec<Complaint>,
}

impl Long<'_> {
    fn look_at(&mut self, name: &syn::Ident, block: &syn::Block) {
        let (first, last) = (name.span().start().line, block.span().end().line);
        let lines = last + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let what = format!(
                "`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed; give its steps names"
            );
            self.complaints.push(Complaint::new(format!("{}:{first}", self.path), what));
        }
    }
}

impl<'ast> Visit<'ast> for Long<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look_at(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look_at(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<Complaint> {
        check(&[Source { path: "a.rs".into(), text: text.into() }])
    }

    #[test]
    fn a_long_function_is_named_with_its_line() {
        let body = "    step();\n".repeat(70);
        let found = complaints(&format!("struct S;\nimpl S {{\nfn long() {{\n{body}}}\n}}\n"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "a.rs:3");
        let body = "    step();\n".repeat(68);
        assert_eq!(complaints(&format!("fn short() {{\n{body}}}\n")), []);
    }

    #[test]
    fn a_long_file_is_named() {
        assert_eq!(complaints(&"// line\n".repeat(601)).len(), 1);
        assert_eq!(complaints(&"// line\n".repeat(600)), []);
    }
}
