//! Lines for the user, who may have gone: a closed pipe or terminal must not end what we supervise.
//!
//! `println!` panics there. Nobody is left to tell, so these drop the line.

/// As `println!`, without its panic.
macro_rules! outln {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stdout(), $($line)*));
    }};
}

/// As `eprintln!`, without its panic.
macro_rules! errln {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stderr(), $($line)*));
    }};
}
