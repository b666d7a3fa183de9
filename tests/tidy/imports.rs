//! Which file of the crate uses which other: read from paths and `use` trees, followed through re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{code, root, rust_files};

/// A module by its path from the crate's root, such as `["process", "local"]`.
pub(crate) type Module = Vec<String>;

/// The modules of the crate, each in a file, and the paths between them.
pub(crate) struct Crate {
    modules: BTreeSet<Module>,
    /// Names that a module re-exports, with the paths they stand for.
    exports: BTreeMap<(Module, String), Vec<String>>,
    /// Modules of which a module re-exports everything.
    globs: BTreeMap<Module, Vec<Vec<String>>>,
    /// Paths that a module uses.
    uses: Vec<(Module, Vec<String>)>,
}

impl Crate {
    /// Reads `src/`.
    pub(crate) fn read() -> Self {
        let files: Vec<(Module, String)> =
            rust_files("src").iter().map(|(path, text)| (module_of(path), code(text))).collect();
        let mut this = Self {
            modules: files.iter().map(|(module, _)| module.clone()).collect(),
            exports: BTreeMap::new(),
            globs: BTreeMap::new(),
            uses: Vec::new(),
        };
        for (module, text) in files {
            this.read_paths(&module, &tokens(&text));
        }
        this
    }

    /// Each file with the files it uses, itself aside. Re-exports are declarations and count as no use.
    pub(crate) fn edges(&self) -> BTreeSet<(Module, Module)> {
        let resolved = self.uses.iter().map(|(from, path)| (from.clone(), self.resolve(path, 0)));
        resolved.filter(|(from, to)| from != to && !from.is_empty()).collect()
    }

    fn read_paths(&mut self, module: &Module, tokens: &[String]) {
        let mut position = 0;
        while position < tokens.len() {
            let token = tokens[position].as_str();
            let follows_path = position > 0 && tokens[position - 1] == "::";
            let leads_path = tokens.get(position + 1).is_some_and(|next| next == "::");
            if token == "use" {
                let exported = position > 0 && (tokens[position - 1] == "pub" || tokens[position - 1] == ")");
                let (paths, after) = use_tree(tokens, position + 1, &[]);
                for (path, name) in paths {
                    self.add_use(module, &path, name, exported);
                }
                position = after;
                continue;
            }
            if leads_path && !follows_path && self.base(module, token).is_some() {
                let mut path = vec![token.to_owned()];
                while tokens.get(position + 1).is_some_and(|next| next == "::")
                    && tokens.get(position + 2).is_some_and(|next| is_name(next))
                {
                    path.push(tokens[position + 2].clone());
                    position += 2;
                }
                self.add_use(module, &path, None, false);
            }
            position += 1;
        }
    }

    fn add_use(&mut self, module: &Module, path: &[String], name: Option<String>, exported: bool) {
        let Some(mut full) = path.first().and_then(|first| self.base(module, first)) else { return };
        let mut rest = &path[1..];
        while rest.first().is_some_and(|segment| segment == "super") {
            full.pop();
            rest = &rest[1..];
        }
        full.extend(rest.iter().cloned());
        let last = full.last().cloned().unwrap_or_default();
        if !exported {
            self.uses.push((module.clone(), full));
        } else if last == "*" {
            full.pop();
            self.globs.entry(module.clone()).or_default().push(full);
        } else {
            self.exports.insert((module.clone(), name.unwrap_or(last)), full);
        }
    }

    /// What the first segment of a path stands for; `None` where it is another crate or a local name.
    fn base(&self, module: &Module, first: &str) -> Option<Vec<String>> {
        match first {
            "crate" => Some(Vec::new()),
            "self" => Some(module.clone()),
            "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
            child => {
                let mut path = module.clone();
                path.push(child.to_owned());
                self.modules.contains(&path).then_some(path)
            }
        }
    }

    /// The module whose file defines what a path stands for.
    fn resolve(&self, path: &[String], depth: u32) -> Module {
        let mut module = Module::new();
        for (index, segment) in path.iter().enumerate() {
            let mut child = module.clone();
            child.push(segment.clone());
            if self.modules.contains(&child) {
                module = child;
                continue;
            }
            if depth < 8 {
                if let Some(target) = self.exports.get(&(module.clone(), segment.clone())) {
                    let target: Vec<String> = target.iter().chain(&path[index + 1..]).cloned().collect();
                    return self.resolve(&target, depth + 1);
                }
                for glob in self.globs.get(&module).into_iter().flatten() {
                    let mut target = glob.clone();
                    target.push(segment.clone());
                    let found = self.resolve(&target, depth + 1);
                    if found != module && self.defines(&found, segment) {
                        return found;
                    }
                }
            }
            break;
        }
        module
    }

    /// Whether a module's file holds a definition of this name.
    fn defines(&self, module: &Module, name: &str) -> bool {
        let file = root().join("src").join(module.join("/"));
        let text = std::fs::read_to_string(file.with_extension("rs"))
            .or_else(|_| std::fs::read_to_string(file.join("mod.rs")))
            .unwrap_or_default();
        ["struct", "enum", "fn", "trait", "const", "static", "type"]
            .iter()
            .any(|kind| text.contains(&format!("{kind} {name}")))
    }
}

fn module_of(path: &Path) -> Module {
    let inside = path.strip_prefix(root().join("src")).expect("the file lies in src").with_extension("");
    let mut module: Module = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// A path, and the name that `as` gives it.
type UsedPath = (Vec<String>, Option<String>);

/// The paths of a `use` tree, and where it ends.
fn use_tree(tokens: &[String], mut position: usize, prefix: &[String]) -> (Vec<UsedPath>, usize) {
    let (mut found, mut path, mut name) = (Vec::new(), prefix.to_vec(), None);
    while let Some(token) = tokens.get(position) {
        match token.as_str() {
            "::" => {}
            "{" => {
                position += 1;
                loop {
                    let (inner, after) = use_tree(tokens, position, &path);
                    found.extend(inner);
                    position = after + 1;
                    if tokens.get(after).is_none_or(|end| end != ",") {
                        break;
                    }
                }
                return (found, position);
            }
            "as" => {
                position += 1;
                name = tokens.get(position).cloned();
            }
            "self" if path.len() > prefix.len() || !prefix.is_empty() => {}
            "," | ";" | "}" => break,
            segment => path.push(segment.to_owned()),
        }
        position += 1;
    }
    if path.len() > prefix.len() || tokens.get(position.wrapping_sub(1)).is_some_and(|last| last == "self") {
        found.push((path, name));
    }
    (found, position)
}

fn is_name(token: &str) -> bool {
    token.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single signs, without comments, strings and characters.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let c = chars[at];
        if c == '/' && chars.get(at + 1) == Some(&'/') {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' && (chars.get(at + 2) == Some(&'\'') || chars.get(at + 1) == Some(&'\\')) {
            at += if chars[at + 1] == '\\' { 4 } else { 3 };
        } else if c.is_alphanumeric() || c == '_' {
            let start = at;
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            found.push(chars[start..at].iter().collect());
        } else if c == ':' && chars.get(at + 1) == Some(&':') {
            found.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                found.push(c.to_string());
            }
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> Crate {
        let module =
            |path: &str| -> Module { path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect() };
        let mut this = Crate {
            modules: files.iter().map(|(path, _)| module(path)).collect(),
            exports: BTreeMap::new(),
            globs: BTreeMap::new(),
            uses: Vec::new(),
        };
        for (path, text) in files {
            this.read_paths(&module(path), &tokens(text));
        }
        this
    }

    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let edges = crate_of(files).edges();
        edges.iter().map(|(from, to)| format!("{} -> {}", from.join("::"), to.join("::"))).collect()
    }

    #[test]
    fn grouped_relative_and_inline_paths_are_found() {
        let found = edges(&[
            ("", ""),
            ("a", "use crate::{b, c::{self, d}};\nfn f() { super::e::g(); }"),
            ("b", ""),
            ("c", ""),
            ("c::d", "use super::X;"),
            ("e", "// use crate::a;\nconst S: &str = \"crate::a::b\";"),
        ]);
        assert_eq!(found, ["a -> b", "a -> c", "a -> c::d", "a -> e", "c::d -> c"]);
    }

    #[test]
    fn a_use_is_followed_through_re_exports() {
        let found = edges(&[
            ("", "pub use a::Public;"),
            ("a", "mod inner; pub(crate) use inner::{Public, Other as Renamed};"),
            ("a::inner", ""),
            ("b", "use crate::a::Renamed;\nfn f(_: crate::Public) {}"),
        ]);
        assert_eq!(found, ["b -> a::inner"]);
    }
}
