/** A world whose nodes are the members of one group, and which watches that nobody else reads anything. */

import { Canary } from "./canary.js";
import { World, type NodeOptions, type NodeProcess } from "./harness.js";

/** Like a world. The first node founds the ledger, every further one comes in by an invite. */
export class PrivateWorld extends World {
  declare readonly canary: Canary;
  #link: Promise<string> | undefined;
  /** Data directories of founders. */
  readonly #founders: string[] = [];

  constructor() {
    super(new Canary());
  }

  override anotherGroup(): void {
    this.#link = undefined;
  }

  /** Nodes that bring their data directory, or name a ledger, are what they are. */
  override async node(options: NodeOptions = {}): Promise<NodeProcess> {
    if (options.data !== undefined || options.ledger !== undefined) return super.node(options);
    const data = await this.newData("member");
    if (this.#link === undefined) await (this.#link = this.#found(data));
    else await this.cairn("join", await this.#link, "--data", data);
    return super.node({ ...options, data });
  }

  /** Without a relay in it, so that whoever joins dials nobody before it serves. */
  async #found(data: string): Promise<string> {
    await this.cairn("init", `${this.mark} garden`, "--nickname", `${this.mark} anna`, "--data", data);
    const made = await this.cairn("invite", "--uses", "1000", "--expires", "never", "--json", "--data", data);
    const { link } = JSON.parse(made) as { link: string };
    this.canary.hides(link);
    this.#founders.push(data);
    return link;
  }

  /** Fails if anything was read outside of the group, or if there was nothing that could have been. */
  async check(): Promise<void> {
    for (const data of this.#founders) {
      const log = (await this.cairn("log", "--json", "--data", data)).trim().split("\n");
      const entries = log.map((line) => JSON.parse(line) as { kind: string; data: unknown; erased?: unknown });
      const bare = entries.filter(
        ({ kind, data, erased }) =>
          erased === undefined &&
          ["data", "nickname", "ledger_name"].includes(kind) &&
          !JSON.stringify(data).includes(this.mark),
      );
      if (bare.length > 0) throw new Error(`${bare.length} payloads have no mark, such as ${JSON.stringify(bare[0])}`);
    }
    const { files, wire, logs } = await this.canary.found();
    const all = [...files, ...wire, ...logs];
    if (all.length > 0) throw new Error(`what only members may read was found in:\n${all.join("\n")}`);
    const watched = await this.canary.watched();
    if (watched.files === 0 || watched.wireBytes === 0 || watched.lines === 0)
      throw new Error(`nothing was watched: ${JSON.stringify(watched)}`);
  }
}
