//! Limits on the command line: `--limit name=value`.

use edge_config::{LIMIT_TABLE, LimitOverrides};

use super::failure::Failure;

/// Sets what the arguments say; `name=` goes back to the node's default.
pub(super) fn apply(limits: &mut LimitOverrides, settings: &[String]) -> Result<(), Failure> {
    for setting in settings {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("`--limit {setting}`: write `name=value`")))?;
        let value = match value {
            "" => None,
            digits => Some(digits.parse().map_err(|_| {
                Failure::Usage(format!("`--limit {setting}`: the value is a whole number"))
            })?),
        };
        if !limits.set(name, value) {
            let names: Vec<_> = LIMIT_TABLE.iter().map(|row| row.name).collect();
            return Err(Failure::Usage(format!(
                "`{name}` is no limit; there are {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}
