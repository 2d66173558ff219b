# The few commands people use. The two in the README are npm's: `npm start` and `npm test`.

# Format, lints, types, licences, docs, and that `shared` builds without std.
check:
    cargo fmt --all --check
    cargo clippy --workspace --exclude relay-worker --exclude cairn-wasm --exclude sim-wasm --all-targets -- -D warnings
    cargo clippy -p relay-worker -p cairn-wasm --all-targets --target wasm32-unknown-unknown -- -D warnings
    cargo clippy -p sim-wasm --all-targets --target wasm32-unknown-unknown -- -D warnings
    cargo clippy -p shared --features mutants --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps -p shared -p node
    cargo build -p shared --target wasm32-unknown-unknown
    cargo build -p shared --target thumbv7em-none-eabi
    ! cargo tree -p shared --edges normal | grep -E '\b(tokio|std-async|mio) '
    cargo deny check bans licenses sources
    npx tsc --project tsconfig.json

# Every test.
test *words:
    npm test -- {{words}}

# Random liars over real replicas, from a seed on: just liars 0 1000
liars first="0" count="1000":
    CAIRN_SEED={{first}} CAIRN_SEEDS={{count}} cargo test -p shared --test shared liars -- --nocapture

# A node is killed (`kill -9`) in the middle of appends, so many times; nothing acknowledged may be lost.
crash cycles="1000" seed="1":
    cargo build --release -p node -p faults
    target/release/crash {{cycles}} {{seed}}

# How long a node with so many entries takes to start.
restart entries="1000000" starts="100":
    cargo build --release -p node -p faults
    target/release/crash restart {{entries}} {{starts}}

# Three of ten nodes are killed and started again: how long until all are in step.
rejoin times="20" seconds_gone="0":
    cargo build -p node
    npx tsx test/bench/rejoin.ts {{times}} {{seconds_gone}}

# Single bits of a closed store are flipped, then pages cut, exchanged and emptied: the truth or an error, never a wrong answer.
flips count="20000" seed="1" *kind:
    cargo run --release -p faults --bin flips -- {{count}} {{seed}} {{kind}}

# Power is lost at so many moments; nothing acknowledged may be lost.
power images="10000" seed="1":
    cargo run --release -p faults --bin power -- {{images}} {{seed}}

# Every operation on the disk fails once, in five ways.
operations:
    cargo test -p faults --test operations -- --nocapture

# Networks of real replicas and every fault, one for each seed: just sim 0 1000; groups with members: just sim members 0 1000
sim *seeds="0 1000":
    cargo run --release -p shared --features sim --bin sim -- {{seeds}}

# Planted bugs, and how soon the simulator notices each: just mutants, or some of them by name
mutants *names:
    cargo run --release -p shared --features mutants --bin mutants -- {{names}}

# Whether seeds do the same in every build: release, debug and wasm.
traces count="1000":
    node scripts/traces.mjs {{count}}

# What it costs to build a members' ledger of so many members who wrote so many blocks, and to remove some of them.
removal members="1000" blocks="10000":
    cargo run --release -p shared --example removal -- {{members}} {{blocks}}

# One network of a thousand members and a relay: 10,000 entries reach all.
large members="1000":
    cargo run --release -p shared --features sim --bin sim -- --large {{members}}

# A thousand members who link directly: what a block costs and how far it goes, also when many hand on nothing or most are gone.
mesh members="1000":
    cargo run --release -p shared --features sim --bin sim -- --mesh {{members}}

# Fuzz targets by libFuzzer on nightly: just fuzz session 600. On stable, without coverage: cargo run -p fuzz
fuzz target="all" seconds="600":
    node scripts/fuzz.mjs {{target}} {{seconds}}

# What Cairn costs, and beside others: just bench, just bench sync, just bench peers, just bench peers live --runs 5. A run of everything writes docs/BENCHMARKS.md, and so does just bench sync --again.
bench *words:
    node bench/run.mjs {{words}}

# The page in Chromium, over 100,000 entries: how soon it paints, checks and scrolls, and what it weighs.
page:
    node scripts/page.mjs

# Thousands of clients, slow readers, floods and strangers against a release build: just swarm, just swarm quick, just swarm slow
swarm *words:
    cargo build --release -p node
    cargo run --release -p node --example swarm -- {{words}}

# A flood of strangers at a relay in workerd, or a node, or of a member, while members write: just door, just door 20 node, just door 4 flood
door *words:
    node scripts/door.mjs {{words}}

# Relay and node for trying things.
dev:
    npm start
