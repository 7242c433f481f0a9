//! Carries out the file operations it is told, one per argument, for the tests of the power-loss shim. Says `done`
//! after each one, or `refused` with the error's number; then waits to be killed.
//!
//! `write:NAME:TEXT` (from the start)  `append:NAME:TEXT`  `fill:NAME:BYTE:COUNT`  `at:NAME:OFFSET:TEXT`
//! `cut:NAME:LENGTH`  `sync:NAME`  `syncdata:NAME`  `syncdir:NAME`  `rename:FROM:TO`  `link:FROM:TO`  `remove:NAME`
//! `mkdir:NAME`  `rmdir:NAME`  `copy:FROM:TO`  `threads:COUNT` (each appends to and syncs a file of its own)

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

fn step(text: &str) -> io::Result<()> {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
    match parts.as_slice() {
        ["write", name, text] => File::create(name)?.write_all(text.as_bytes()),
        ["append", name, text] => OpenOptions::new()
            .append(true)
            .create(true)
            .open(name)?
            .write_all(text.as_bytes()),
        ["fill", name, byte, count] => {
            let count = usize::try_from(number(count)?).map_err(io::Error::other)?;
            let byte = byte.bytes().next().unwrap_or(b'-');
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(name)?
                .write_all(&vec![byte; count])
        }
        ["at", name, offset, text] => OpenOptions::new()
            .write(true)
            .open(name)?
            .write_all_at(text.as_bytes(), number(offset)?),
        ["cut", name, length] => OpenOptions::new()
            .write(true)
            .open(name)?
            .set_len(number(length)?),
        ["sync", name] => OpenOptions::new().append(true).open(name)?.sync_all(),
        ["syncdata", name] => OpenOptions::new().append(true).open(name)?.sync_data(),
        ["syncdir", name] => File::open(name)?.sync_all(),
        ["rename", from, to] => fs::rename(from, to),
        ["link", from, to] => fs::hard_link(from, to),
        ["remove", name] => fs::remove_file(name),
        ["mkdir", name] => fs::create_dir(name),
        ["rmdir", name] => fs::remove_dir_all(name),
        ["copy", from, to] => fs::copy(from, to).map(drop),
        ["threads", count] => {
            let threads: Vec<_> = (0..number(count)?)
                .map(|thread| {
                    std::thread::spawn(move || -> io::Result<()> {
                        let mut file = File::create(format!("thread-{thread}"))?;
                        for line in 0..50 {
                            writeln!(file, "{line}")?;
                            file.sync_data()?;
                        }
                        writeln!(file, "not synced")
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .map_err(|_| io::Error::other("a thread panicked"))?
            })
        }
        _ => Err(io::Error::other(format!("no such step: {text}"))),
    }
}

fn main() -> io::Result<()> {
    for text in std::env::args().skip(1) {
        match step(&text) {
            Ok(()) => println!("done"),
            Err(error) => match error.raw_os_error() {
                Some(number) => println!("refused {number}"),
                None => return Err(error),
            },
        }
    }
    // Until the test closes our input or kills us.
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}
