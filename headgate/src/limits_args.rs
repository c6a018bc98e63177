//! The gateway's limits as flags, made from its one table. It knows no limit by name.

use clap::{Arg, ArgMatches, Command, Error, FromArgMatches, error::ErrorKind};
use headgate_gateway::limits::{Limits, TABLE, Unit};

/// Limits as the command line gives them; flatten it into the arguments of a command.
pub struct LimitArgs {
    /// The defaults, with what was given instead.
    pub limits: Limits,
}

impl clap::Args for LimitArgs {
    fn augment_args(command: Command) -> Command {
        command.args(TABLE.iter().map(|row| {
            Arg::new(row.name)
                .long(row.flag())
                .value_name(value_name(row.unit))
                .default_value(row.default())
                .help(row.text.trim_end_matches('.'))
                .help_heading("Limits")
                .hide_short_help(true)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = Self { limits: Limits::default() };
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let invalid = |why: String| Error::raw(ErrorKind::ValueValidation, format!("{why}\n"));
        for row in TABLE {
            if let Some(text) = matches.get_one::<String>(row.name) {
                self.limits.set(&row.flag(), text).map_err(invalid)?;
            }
        }
        match self.limits.defects() {
            defects if defects.is_empty() => Ok(()),
            defects => Err(invalid(defects.join("\n"))),
        }
    }
}

const fn value_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "COUNT",
        Unit::Bytes => "SIZE",
        Unit::Time => "TIME",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args as _;

    fn read(arguments: &[&str]) -> Result<Limits, String> {
        let command = LimitArgs::augment_args(Command::new("x"));
        let matches = command.try_get_matches_from([&["x"], arguments].concat()).map_err(|error| error.to_string())?;
        LimitArgs::from_arg_matches(&matches).map(|args| args.limits).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_are_those_of_the_table() {
        assert_eq!(read(&[]), Ok(Limits::default()));
        let limits = read(&["--head-bytes", "64KiB", "--request-timeout=none"]).unwrap();
        assert_eq!((limits.head_bytes, limits.request_timeout), (65_536, None));
    }

    #[test]
    fn what_is_wrong_says_what_to_write() {
        assert!(read(&["--head-timeout", "ten"]).unwrap_err().contains("--head-timeout: "));
        assert!(read(&["--head-timeout", "ten"]).unwrap_err().contains("10s"));
        assert!(read(&["--target-bytes", "1MiB"]).unwrap_err().contains("--head-bytes"));
        assert!(read(&["--head-byte", "1"]).unwrap_err().contains("--head-bytes"));
    }
}
