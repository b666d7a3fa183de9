//! How to build a program so that its functions have names, cheapest first. The costs are those of `axum_mistakes`; see
//! `docs/measurements/build.md`.

/// The names that a build has for its functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BuildNames {
    /// It is stripped.
    None,
    /// Symbols of the older mangling, which name no type of a generic function.
    Legacy,
    /// Symbols of mangling v0.
    V0,
    /// Lines and inlined calls too.
    Lines,
}

/// The remedies from v0 symbols on, without a verb.
macro_rules! lines {
    () => {
        "debug = 1 in [profile.release.package.NAME] of your package (+6 MB, lines too), or debug = 1 in [profile.release] \
         (+13 MB, lines of dependencies too)"
    };
}

impl BuildNames {
    /// The build settings that name more functions, cheapest first, to follow "build with"; `None` if all have names.
    pub(crate) const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::None => Some("strip = \"none\" in [profile.release], and debug = 1 for lines"),
            Self::Legacy => Some(concat!(
                "RUSTFLAGS=\"-C symbol-mangling-version=v0\" (5 to 8 % larger, request handlers get names), or ",
                lines!()
            )),
            Self::V0 => Some(lines!()),
            Self::Lines => None,
        }
    }

    /// What a report says whose stack shows no function of the user.
    pub(crate) const fn advice(self) -> Option<&'static str> {
        match self {
            Self::None => Some(
                "No function has a name, because the program is stripped. Build with strip = \"none\" in [profile.release], and \
                 debug = 1 for lines.",
            ),
            Self::Legacy => Some(concat!(
                "No function of yours is named on this stack; this build hides inlined and generic ones. Build with \
                 RUSTFLAGS=\"-C symbol-mangling-version=v0\" (5 to 8 % larger, request handlers get names), or ",
                lines!(),
                "."
            )),
            Self::V0 => Some(concat!(
                "No function of yours is named on this stack; this build hides inlined ones. Build with ",
                lines!(),
                "."
            )),
            Self::Lines => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_remedy_that_works_comes_first() {
        let order = ["symbol-mangling-version=v0", "[profile.release.package.NAME]", "[profile.release] (+13 MB"];
        let places = |text: &str| order.map(|remedy| text.find(remedy));
        for text in [BuildNames::Legacy.remedy(), BuildNames::Legacy.advice()] {
            let [v0, package, all] = places(text.expect("there is one")).map(|place| place.expect("it is named"));
            assert!(v0 < package && package < all);
        }
        for text in [BuildNames::V0.remedy(), BuildNames::V0.advice()] {
            let [v0, package, all] = places(text.expect("there is one"));
            assert!(v0.is_none() && package.is_some() && package < all, "v0 is there already");
        }
        assert_eq!((BuildNames::Lines.remedy(), BuildNames::Lines.advice()), (None, None));
    }
}
