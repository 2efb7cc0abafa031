//! The real binary as a process of its own, over a folder, that can be killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::DEADLINE;

/// A running `alleycat serve`; dropped, it is killed.
pub struct Process {
    child: Child,
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub origin: String,
    /// What it had logged by then.
    pub said_before: String,
    log: mpsc::Receiver<String>,
}

impl Process {
    /// Starts it on a port of its own choice, and waits until it listens.
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", folder, options)
    }

    /// Starts it on that address, and waits until it listens.
    pub fn start_on(address: &str, folder: &Path, options: &[&str]) -> Self {
        let mut child = command(address, folder, options).spawn().expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut said = String::new();
        let origin = loop {
            let line = log.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("it does not listen: {said}"));
            if let Some((_, rest)) = line.split_once("listening on ") {
                let (origin, _) = rest.split_once(',').expect("an address, and more");
                break origin.to_owned();
            }
            said = format!("{said}{line}\n");
        };
        Self { child, origin, said_before: said, log }
    }

    /// Insists that it does not start, and returns what it says.
    pub fn refused(folder: &Path, options: &[&str]) -> String {
        let mut child = command("127.0.0.1:0", folder, options).spawn().expect("the binary runs");
        let mut stderr = child.stderr.take().expect("it is piped");
        let said = std::thread::spawn(move || std::io::read_to_string(&mut stderr).expect("text"));
        let status = ends_within(&mut child, DEADLINE);
        assert!(!status.success(), "it should not have started");
        said.join().expect("it is read")
    }

    /// The address it listens on.
    pub fn address(&self) -> &str {
        self.origin.strip_prefix("http://").expect("it was made so")
    }

    /// The most memory that it ever held, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// `kill -9`: from one moment to the next.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ran");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn ends_within(&mut self, most: Duration) -> ExitStatus {
        ends_within(&mut self.child, most)
    }

    /// What it has logged since it listens. It must have ended.
    pub fn said(&self) -> String {
        self.log.iter().map(|line| line + "\n").collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

fn command(address: &str, folder: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alleycat"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ALLEYCAT_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command.args(["serve", "--listen", address, "--store", &format!("file:{}", folder.display())]).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn ends_within(child: &mut Child, most: Duration) -> ExitStatus {
    let began = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status;
        }
        if began.elapsed() > most {
            let _ = child.kill();
            panic!("it runs on after {most:?}");
        }
        std::thread::sleep(Duration::from_millis(5)); // a child's end cannot be waited for with a limit
    }
}
