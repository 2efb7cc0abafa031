//! The names of `--class-names`.

use std::str::FromStr;

/// Maximum length of a class's name, in characters: it is a heading on a phone.
const CLASS_NAME_CHARS_MAX: usize = 60;

/// The names of the first classes, in order. Every other class is "Class N".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassNames(Vec<String>);

impl ClassNames {
    /// Names the first classes.
    pub fn new(names: &[&str]) -> Self {
        Self(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// Returns the number of classes that the list names.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the name of a class, by its number from 1.
    pub(crate) fn name(&self, class: u16) -> String {
        match self.0.get(usize::from(class) - 1).map(String::as_str) {
            None | Some("") => format!("Class {class}"),
            Some(name) => name.to_owned(),
        }
    }
}

impl FromStr for ClassNames {
    type Err = String;

    /// Parses names separated by commas. An empty name leaves the class its default.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = |name: &str| {
            let name = name.trim();
            if name.chars().count() > CLASS_NAME_CHARS_MAX {
                return Err(format!(
                    "\"{name}\" is longer than {CLASS_NAME_CHARS_MAX} characters"
                ));
            }
            if name.chars().any(char::is_control) {
                return Err(format!("{name:?} contains a control character"));
            }
            Ok(name.to_owned())
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',')
            .map(name)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
