/** Chromium, and whoever looks at pages with it; what no page may ever do is noticed on all of them. */

import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

import { findChromium } from "../../scripts/setup.mjs";

/** Nothing that goes out by itself, and no QUIC, which waits for an answer that never comes where there is no network. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What the browser itself says where a connection is lost, a node is away, or a page is closed in the middle of it. */
const LOST = /WebSocket connection to|net::ERR_|Failed to load resource: the server responded with a status of 502/u;

/** How somebody looks at pages. */
export interface Look {
  readonly width: number;
  readonly height: number;
  readonly dark: boolean;
}

export const DESKTOP: Look = { width: 1280, height: 800, dark: false };
export const PHONE: Look = { width: 360, height: 740, dark: false };

/** One browser; each visitor has a profile of its own. */
export class Visitors {
  readonly #browser: Browser;
  readonly #faults: string[] = [];

  static async arrive(): Promise<Visitors> {
    const executablePath = findChromium();
    if (executablePath === undefined) throw new Error("there is no Chromium: install it, or name one by CAIRN_CHROMIUM");
    return new Visitors(await chromium.launch({ executablePath, args: FLAGS }));
  }

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  /** A new profile. */
  async profile(look: Look = DESKTOP): Promise<BrowserContext> {
    const context = await this.#browser.newContext({
      viewport: { width: look.width, height: look.height },
      colorScheme: look.dark ? "dark" : "light",
      locale: "en-GB",
      timezoneId: "UTC",
      reducedMotion: "reduce",
    });
    // One tab of a slow machine may take its time.
    context.setDefaultTimeout(20_000);
    context.on("page", (page) => this.#watch(page));
    return context;
  }

  /** A page of a node in a new profile. */
  async visit(url: string, look: Look = DESKTOP): Promise<Page> {
    const page = await (await this.profile(look)).newPage();
    await page.goto(url);
    return page;
  }

  /** What pages did that none may: questions, errors, refusals of their policy, requests to others, other pages. */
  get faults(): readonly string[] {
    return this.#faults;
  }

  async leave(): Promise<void> {
    await this.#browser.close();
  }

  #watch(page: Page): void {
    let origin: string | undefined;
    const fault = (what: string): void => void this.#faults.push(what);
    page.on("dialog", (dialog) => {
      fault(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("popup", () => fault("another window"));
    page.on("download", (download) => fault(`a download: ${download.suggestedFilename()}`));
    page.on("pageerror", (error) => fault(`an error that nobody caught: ${error.stack ?? error.message}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !LOST.test(message.text())) fault(`the console says: ${message.text()}`);
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      origin ??= url.origin;
      if (["data:", "blob:"].includes(url.protocol)) return;
      if (url.origin !== origin) fault(`a request to ${url.origin}`);
    });
    page.on("websocket", (socket) => {
      if (new URL(socket.url()).host !== new URL(page.url()).host) fault(`a WebSocket to ${socket.url()}`);
    });
    page.on("framenavigated", (frame) => {
      const url = new URL(frame.url());
      if (frame !== page.mainFrame()) fault(`a frame: ${frame.url()}`);
      else if (origin !== undefined && (url.origin !== origin || url.pathname !== "/") && url.protocol !== "chrome-error:") fault(`another page: ${frame.url()}`);
    });
  }
}
