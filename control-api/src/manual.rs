//! The manual: pages made from the definitions of commands and of the configuration, so that they say what holds.
//!
//! Takes a definition; gives pages in the language of `man(7)`. Never writes elsewhere than where it is told.

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use edge_config::KeyRow;

/// The section of commands for everybody.
pub const COMMANDS_SECTION: u8 = 1;
/// The section of commands for those who run a box.
pub const ADMINISTRATION_SECTION: u8 = 8;
const FILES_SECTION: u8 = 5;

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its file, for instance `littoral-deploy.1`.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// A page for a command and for each of its own, hidden ones left out.
#[must_use]
pub fn pages(mut command: Command, section: u8) -> Vec<Page> {
    // What holds for all commands is on the page of the first, and is not said again on each.
    command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    page(&command, section, &mut pages);
    pages
}

fn page(command: &Command, section: u8, pages: &mut Vec<Page>) {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let man = Man::new(command.clone())
        .title(name.clone())
        .section(section.to_string())
        // Without a date, so that the same source gives the same page.
        .date("");
    let mut text = Vec::new();
    man.render(&mut text)
        .expect("writing to memory does not fail");
    pages.push(Page {
        file: format!("{name}.{section}"),
        text: String::from_utf8_lossy(&text).into_owned(),
    });
    for own in command.get_subcommands().filter(|own| !own.is_hide_set()) {
        page(own, section, pages);
    }
}

/// The page of the configuration file, `littoral.toml(5)`.
#[must_use]
pub fn of_configuration() -> Page {
    let mut text = String::from(
        ".TH littoral.toml 5\n.SH NAME\nlittoral.toml \\- configuration of a Littoral node\n.SH DESCRIPTION\n\
         A file in TOML in which every key is optional. Units stand in the names. Unknown keys and values that are not \
         allowed are refused, all of them in one go: see\n.BR littorald\\-check\\-config (8).\nThe environment overrides \
         the file, by the variable that stands with each key.\n",
    );
    let mut section = "";
    for row in edge_config::config_keys() {
        if row.section != section {
            section = row.section;
            text.push_str(&format!(".SH [{}]\n", escaped(section)));
        }
        text.push_str(&entry(&row));
    }
    text.push_str(".SH SEE ALSO\n.BR littorald (8),\n.BR littoral (1)\n");
    Page {
        file: format!("littoral.toml.{FILES_SECTION}"),
        text,
    }
}

fn entry(row: &KeyRow) -> String {
    format!(
        ".TP\n.BR {} \" = {}\"\n{}\n.br\nAllowed: {}.\n.br\n{}\n",
        escaped(row.name),
        escaped(&row.default_text()).replace('"', "\\(dq"),
        escaped(&row.doc.replace('`', "")),
        escaped(&row.allowed()),
        escaped(&row.variable()),
    )
}

/// Text that begins no request and has no escape of its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.chars().next() {
        Some('.' | '\'') => format!("\\&{text}"),
        _ => text,
    }
}

/// Writes pages into a folder, which is made if it is not there.
///
/// # Errors
/// What the file system says; pages that were written before stay.
pub fn write(pages: &[Page], folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for page in pages {
        std::fs::write(folder.join(&page.file), &page.text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn every_command_has_a_page_and_hidden_ones_have_none() {
        let command = Command::new("tool")
            .subcommand(
                Command::new("one")
                    .about("Does one thing")
                    .arg(Arg::new("WHAT"))
                    .subcommand(Command::new("deep")),
            )
            .subcommand(Command::new("inner").hide(true));
        let pages = pages(command, 8);
        let files: Vec<_> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files, ["tool.8", "tool-one.8", "tool-one-deep.8"]);
        assert!(pages[1].text.contains("Does one thing"));
        assert!(!pages[0].text.contains("inner"));
    }

    #[test]
    fn the_page_of_the_configuration_has_every_key_and_no_line_that_is_a_request_by_chance() {
        let page = of_configuration();
        assert_eq!(page.file, "littoral.toml.5");
        let known = [".TH ", ".SH ", ".TP", ".BR ", ".br"];
        for line in page
            .text
            .lines()
            .filter(|line| line.starts_with(['.', '\'']))
        {
            assert!(known.iter().any(|known| line.starts_with(known)), "{line}");
        }
        for row in edge_config::config_keys() {
            assert!(
                page.text.contains(&escaped(&row.variable())),
                "{}",
                row.name
            );
        }
        assert_eq!(escaped(".x \\ -"), "\\&.x \\e \\-");
    }
}
