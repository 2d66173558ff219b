//! `crash [cycles]`: a node is killed (`kill -9`) in the middle of appends, again and again; a parent process writes down
//! every acknowledgement. `crash restart [entries] [starts]`: how long a node with so many entries takes to start.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use faults::rng::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use node::{
    control::{ControlFile, client::ControlClient},
    data::DataDir,
    salvage::examine,
    store::SqliteReader,
};
use serde_json::Value;
use shared::{BlockHash, EntryId, Page, ReadStore, view};

type Failed = Box<dyn std::error::Error>;

/// Clients that append at once.
const WRITERS: usize = 3;
/// Entries of one append are up to twice as many.
const BATCH: usize = 100;
/// Acknowledged appends of a cycle before the kill, up to twice as many.
const ACKS: usize = 6;
const PAGE: Page = Page { blocks: 256, bytes: 4 * 1024 * 1024 };

/// The `cairn` beside this program, or the one that `CAIRN_BINARY` names.
fn binary() -> Result<PathBuf, Failed> {
    match env::var_os("CAIRN_BINARY") {
        Some(path) => Ok(path.into()),
        None => Ok(env::current_exe()?.with_file_name("cairn")),
    }
}

/// A running node.
struct Served {
    child: Child,
    data: DataDir,
    _stdout: BufReader<std::process::ChildStdout>,
    /// From its start until it said that it listens.
    took: Duration,
}

impl Served {
    fn start(data: &DataDir) -> Result<Self, Failed> {
        let began = Instant::now();
        let mut command = Command::new(binary()?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        for name in ["CAIRN_RELAY", "CAIRN_LEDGER", "CAIRN_DATA", "CAIRN_LISTEN", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                return Err(format!("the node ended before it listened: {}", child.wait()?).into());
            }
            if line.contains("listening on ") {
                let took = began.elapsed();
                return Ok(Self { child, data: data.clone(), _stdout: stdout, took });
            }
        }
    }

    fn client(&self) -> Result<ControlClient, Failed> {
        let file = ControlFile::load(&self.data.control())?.ok_or("the node left no control.json")?;
        let client = ControlClient::new(file);
        let ledger = client.ledgers()?.into_iter().next().ok_or("the node serves no ledger")?;
        Ok(client.of(ledger.id))
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn kill(mut self) -> Result<(), Failed> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn terminate(mut self) -> Result<(), Failed> {
        Command::new("kill").args(["-TERM", &self.pid()]).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the node ended with {status}").into()) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // After `kill` and `terminate` it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What was acknowledged: of each block (author and height) the hash and the entries.
#[derive(Default)]
struct Acked {
    entries: BTreeMap<EntryId, [u8; 8]>,
    /// Those since the last look.
    fresh: Vec<EntryId>,
    twice: usize,
}

impl Acked {
    fn note(&mut self, entry: &Value) -> Result<(), Failed> {
        let field = |name: &str| entry[name].as_str().ok_or("an acknowledgement without id or hash");
        let (id, hash): (EntryId, BlockHash) = (field("id")?.parse()?, field("hash")?.parse()?);
        let start = start_of(&hash);
        self.fresh.push(id);
        if self.entries.insert(id, start).is_some_and(|before| before != start) {
            self.twice += 1;
        }
        Ok(())
    }
}

/// Eight bytes of a hash: enough to see another one, and little to keep of a million.
fn start_of(hash: &BlockHash) -> [u8; 8] {
    let mut start = [0; 8];
    start.copy_from_slice(&hash.as_bytes()[..8]);
    start
}

/// Appends until the node is gone.
fn write(client: &ControlClient, mut rng: Rng, acked: &Mutex<Acked>, told: &mpsc::Sender<()>) -> Result<(), String> {
    loop {
        let count = 1 + rng.below(2 * BATCH);
        let data: Vec<String> =
            (0..count).map(|n| format!("{{\"n\":{n},\"x\":{}}}", rng.next_u64() % 1_000_000)).collect();
        // After the kill the connection breaks, and what was under way may be there or not.
        let Ok(entries) = client.append(&data) else { return Ok(()) };
        let mut acked = acked.lock().map_err(|_| "another writer failed")?;
        for entry in entries {
            let entry = serde_json::from_str(entry.get()).map_err(|error| error.to_string())?;
            acked.note(&entry).map_err(|error| error.to_string())?;
        }
        drop(acked);
        _ = told.send(());
    }
}

/// Everything that arrived behind a place, compared with what was acknowledged. What was there before stays what it was:
/// that all of it is, is looked at in the end.
fn check(
    reader: &SqliteReader,
    seq: &mut u64,
    acked: &Acked,
    here: &mut BTreeMap<EntryId, [u8; 8]>,
) -> Result<usize, Failed> {
    let mut wrong = 0;
    loop {
        let page = reader.arrived(*seq, PAGE)?;
        let Some(last) = page.last() else { return Ok(wrong) };
        *seq = last.summary.seq;
        for record in &page {
            let block = view::decode_record::<node::store::StoreError>(record)?;
            for (index, hash) in block.entry_hashes().iter().enumerate() {
                let (id, hash) = (block.entry_id(index), start_of(hash));
                let other = |known: &BTreeMap<EntryId, [u8; 8]>| known.get(&id).is_some_and(|known| *known != hash);
                if other(&acked.entries) || other(here) {
                    wrong += 1;
                }
                here.insert(id, hash);
            }
        }
    }
}

fn bar(total: usize, unit: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{eta}} left, {{msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total as u64).with_style(style)
}

fn crash(cycles: usize, seed: u64) -> Result<bool, Failed> {
    let directory = tempfile::tempdir()?;
    let data = DataDir::new(directory.path().join("data"));
    let began = Instant::now();
    let acked = Mutex::new(Acked::default());
    let (mut seq, mut here, mut wrong) = (0, BTreeMap::new(), 0);
    let bar = bar(cycles, "cycles");
    let mut starts = Vec::new();
    for cycle in 0..cycles {
        let mut rng = Rng::new(seed.wrapping_add(cycle as u64));
        let served = Served::start(&data)?;
        starts.push(served.took);
        let (told, acks) = mpsc::channel();
        let clients: Vec<ControlClient> = (0..WRITERS).map(|_| served.client()).collect::<Result<_, _>>()?;
        let wanted = 1 + rng.below(2 * ACKS);
        thread::scope(|scope| {
            let writers: Vec<_> = clients
                .iter()
                .map(|client| {
                    let (rng, acked, told) = (Rng::new(rng.next_u64()), &acked, told.clone());
                    scope.spawn(move || write(client, rng, acked, &told))
                })
                .collect();
            drop(told);
            let came = acks.iter().take(wanted).count();
            // And a moment more, so that every part of a turn is hit.
            thread::sleep(Duration::from_micros(rng.next_u64() % 3_000));
            served.kill()?;
            for writer in writers {
                writer.join().map_err(|_| "a writer panicked")??;
            }
            if came < wanted {
                return Err(format!("{came} of {wanted} appends were acknowledged before the node was killed").into());
            }
            Ok::<_, Failed>(())
        })?;
        let mut acked = acked.lock().map_err(|_| "a writer panicked")?;
        wrong += check(&data.reader()?, &mut seq, &acked, &mut here)?;
        let lost = std::mem::take(&mut acked.fresh).iter().filter(|id| !here.contains_key(id)).count();
        bar.set_message(format!("{} acked", acked.entries.len()));
        bar.inc(1);
        if lost > 0 || wrong > 0 {
            break;
        }
    }
    bar.finish_and_clear();
    // All of it once more, from the beginning, every signature included.
    let acked = acked.into_inner().map_err(|_| "a writer panicked")?;
    let (mut seq, mut all) = (0, BTreeMap::new());
    wrong += check(&data.reader()?, &mut seq, &acked, &mut all)?;
    let lost = acked.entries.keys().filter(|id| !all.contains_key(id)).count();
    let shown_lost = here.keys().filter(|id| !all.contains_key(id)).count();
    let clean = examine(&data.first().store(), None, |_, _, _| {})?.is_clean();
    let twice = acked.twice + wrong;
    let well = lost == 0 && shown_lost == 0 && twice == 0 && clean;
    starts.sort_unstable();
    println!(
        "crash {} cycles={} acked={} lost={lost} twice={twice} stored={} clean={clean} restart_p50_ms={} restart_p99_ms={} \
         seed={seed} seconds={:.0}",
        if well { "pass" } else { "FAIL" },
        starts.len(),
        acked.entries.len(),
        all.len(),
        percentile(&starts, 50),
        percentile(&starts, 99),
        began.elapsed().as_secs_f64()
    );
    Ok(well)
}

fn percentile(sorted: &[Duration], percent: usize) -> u128 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or(0, Duration::as_millis)
}

/// Fills a store through the node itself.
fn fill(data: &DataDir, entries: usize, single: usize) -> Result<(), Failed> {
    let served = Served::start(data)?;
    let client = served.client()?;
    let bar = bar(entries, "entries");
    let text = |n: usize| format!("{{\"n\":{n},\"text\":\"a line as people write them, not long\"}}");
    let mut done = 0;
    while done < entries {
        // Some one by one, so that there are many blocks, the rest in bursts.
        let count = if done < single { 1 } else { 5_000.min(entries - done) };
        client.append(&(0..count).map(|n| text(done + n)).collect::<Vec<_>>())?;
        done += count;
        bar.set_position(done as u64);
    }
    bar.finish_and_clear();
    served.terminate()
}

fn restart(entries: usize, starts: usize, seed: u64) -> Result<bool, Failed> {
    const MOST_MS: u128 = 500;
    let directory = tempfile::tempdir()?;
    let data = DataDir::new(directory.path().join("data"));
    let began = Instant::now();
    fill(&data, entries, entries / 200)?;
    let filled = began.elapsed();
    let (blocks, _) = data.reader()?.size()?;
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    let bar = bar(starts, "starts");
    let mut killed = false;
    let mut rng = Rng::new(seed);
    for n in 0..starts {
        let begin = Instant::now();
        let served = Served::start(&data)?;
        let client = served.client()?;
        client.status()?;
        times[usize::from(killed)].push(begin.elapsed());
        // Something to do for the next start: blocks behind the checkpoint and in the write-ahead log.
        for _ in 0..rng.below(8) {
            client.append(&vec!["\"more\"".to_owned(); 1 + rng.below(2_000)])?;
        }
        killed = n % 2 == 0;
        if killed {
            served.kill()?
        } else {
            served.terminate()?
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    times.iter_mut().for_each(|times| times.sort_unstable());
    let mut all = times.concat();
    all.sort_unstable();
    let p99 = percentile(&all, 99);
    let well = p99 < MOST_MS;
    println!(
        "restart {} entries={entries} blocks={blocks} starts={} p50_ms={} p99_ms={p99} after_stop_p99_ms={} \
         after_kill_p99_ms={} most_ms={} limit_ms={MOST_MS} filled_seconds={:.0} seconds={:.0}",
        if well { "pass" } else { "FAIL" },
        all.len(),
        percentile(&all, 50),
        percentile(&times[0], 99),
        percentile(&times[1], 99),
        percentile(&all, 100),
        filled.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    Ok(well)
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |n: usize, otherwise| words.get(n).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (name, result) = match words.first().map(String::as_str) {
        Some("restart") => ("restart", restart(number(1, 1_000_000), number(2, 100), 1)),
        _ => ("crash", crash(number(0, 1_000), number(1, 1) as u64)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{name} FAIL error={:?}", error.to_string());
            ExitCode::FAILURE
        }
    }
}
