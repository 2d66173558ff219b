/** Real processes under test: started in a group of their own, read line by line, and gone when the test is. */

import { spawn, type ChildProcess } from "node:child_process";
import { EventEmitter } from "node:events";
import { createInterface } from "node:readline";

/** Lines of output that are kept of one process. */
const KEPT_LINES = 2000;

/** Where a process said something. */
export type Stream = "stdout" | "stderr";

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What to run. */
export interface ProcessOptions {
  /** Its name in messages. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

const running = new Set<Process>();

// Whatever ends the test run, no process outlives it. An exit handler can only do synchronous work, which a signal is.
process.on("exit", () => {
  for (const child of running) child.signal("SIGKILL");
});

/** One process and those that it starts. */
export class Process {
  readonly name: string;
  /** Resolves when the process has ended; never rejects. */
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #events = new EventEmitter<{ line: [string, Stream]; exit: [Exit] }>();
  #exit: Exit | undefined;

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.#events.setMaxListeners(0);
    this.#child = spawn(options.command, options.args, {
      cwd: options.cwd,
      detached: true,
      env: options.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(this);
    this.exited = new Promise((resolve) => this.#events.once("exit", resolve));
    const end = (exit: Exit): void => {
      if (this.#exit !== undefined) return;
      this.#exit = exit;
      running.delete(this);
      this.#events.emit("exit", exit);
    };
    this.#child.once("close", (code, signal) => end({ code, signal }));
    this.#child.once("error", (error) => {
      this.#keep(`cannot run ${options.command}: ${error.message}`, "stderr");
      end({ code: null, signal: null });
    });
    for (const name of ["stdout", "stderr"] as const) {
      const stream = this.#child[name];
      if (stream !== null) createInterface({ input: stream }).on("line", (line) => this.#keep(line, name));
    }
  }

  /** The process id. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Whether it has not ended yet. */
  get alive(): boolean {
    return this.#exit === undefined;
  }

  /** The last lines of its output, standard error included. */
  get output(): string {
    return this.#lines.join("\n");
  }

  /** Calls a listener with every line from now on: with all of them, if it is called where the process was started. */
  listen(listener: (line: string, stream: Stream) => void): void {
    this.#events.on("line", listener);
  }

  /** Waits for a line that matches, those already printed included. Rejects when the process ends before. */
  line(pattern: RegExp, timeout = 30_000): Promise<RegExpMatchArray> {
    for (const line of this.#lines) {
      const match = line.match(pattern);
      if (match !== null) return Promise.resolve(match);
    }
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#events.off("line", onLine);
        this.#events.off("exit", onExit);
      };
      const fail = (why: string): void => {
        done();
        reject(new Error(`${this.name} ${why} before it printed ${pattern}:\n${this.output}`));
      };
      const onLine = (line: string): void => {
        const match = line.match(pattern);
        if (match === null) return;
        done();
        resolve(match);
      };
      const onExit = (exit: Exit): void => fail(`ended (${exit.code ?? exit.signal})`);
      const timer = setTimeout(() => fail(`took ${timeout} ms`), timeout);
      this.#events.on("line", onLine);
      if (this.#exit !== undefined) onExit(this.#exit);
      else this.#events.once("exit", onExit);
    });
  }

  /** Sends a signal to the process and to all that it started. */
  signal(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined || this.#exit !== undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch (error) {
      // The group may have ended a moment ago, before its exit was reported.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }

  /** Asks the process to end, and waits; after `patience` ms it is killed, which is an error. */
  async stop(patience = 10_000): Promise<Exit> {
    let killed = false;
    const timer = setTimeout(() => {
      killed = true;
      this.signal("SIGKILL");
    }, patience);
    this.signal("SIGTERM");
    const exit = await this.exited;
    clearTimeout(timer);
    if (killed) throw new Error(`${this.name} did not stop within ${patience} ms of SIGTERM:\n${this.output}`);
    return exit;
  }

  /** Ends the process at once, as `kill -9` does. */
  async kill(): Promise<Exit> {
    this.signal("SIGKILL");
    return this.exited;
  }

  #keep(line: string, stream: Stream): void {
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    this.#events.emit("line", line, stream);
  }
}
