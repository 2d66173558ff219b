/** The time of day, for what says how long ago something was: all of it moves together, and only twice a minute. */

class Clock {
  #now = $state(Date.now());

  constructor() {
    setInterval(() => (this.#now = Date.now()), 30_000);
  }

  get now(): number {
    return this.#now;
  }
}

export const clock = new Clock();
