/** What people are told in passing. */

/** ms that a notice stays, and how many are shown at once. */
const STAYS = 6000;
const AT_ONCE = 3;

export interface Notice {
  readonly id: number;
  readonly text: string;
}

export class Notices {
  #shown = $state.raw<readonly Notice[]>([]);
  #next = 0;

  get shown(): readonly Notice[] {
    return this.#shown;
  }

  readonly say = (text: string): void => {
    const id = this.#next++;
    this.#shown = [...this.#shown.filter((notice) => notice.text !== text), { id, text }].slice(-AT_ONCE);
    setTimeout(() => this.dismiss(id), STAYS);
  };

  dismiss(id: number): void {
    this.#shown = this.#shown.filter((notice) => notice.id !== id);
  }
}
