/** The real service and a real browser, for tests. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'

/** The service's binary: the debug build, unless told otherwise. */
const BIN = resolve(
  process.env.ALLEYCAT_BIN ?? join(import.meta.dirname, '../../target/debug/alleycat'),
)

/** Any Chromium will do; Debian's is here. */
const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium'

/** Maximum time that a test waits for a condition, in milliseconds. */
const DEADLINE_MS = 30_000

/** A store that several services share. */
export interface SharedStore {
  url: string
  /** Variables of a service's environment. */
  env: Record<string, string>
}

/** A running service over a folder of its own, or over a shared store. */
export class Service {
  readonly folder = mkdtempSync(join(tmpdir(), 'alleycat-e2e-'))
  #process: ChildProcess | null = null
  #address = '127.0.0.1:0'

  constructor(
    readonly options: string[],
    readonly shared?: SharedStore,
  ) {}

  static async start(...options: string[]): Promise<Service> {
    const service = new Service(options)
    await service.run()
    return service
  }

  get origin(): string {
    return `http://${this.#address}`
  }

  /** Starts it, again at the address that it had, and waits until it is ready. */
  async run(): Promise<void> {
    const listen = ['--listen', this.#address, '--metrics-listen', '127.0.0.1:0'] // services run side by side
    const store = this.shared?.url ?? `file:${this.folder}`
    const args = ['serve', ...listen, '--store', store, ...this.options]
    const child = spawn(BIN, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...this.shared?.env, NO_COLOR: '1', RUST_LOG: 'info' },
    })
    this.#process = child
    this.#address = await new Promise<string>((found, failed) => {
      const lines: string[] = []
      // Read to the end, so that the service never waits for room to log.
      createInterface({ input: child.stderr }).on('line', (line) => {
        lines.push(line)
        const address = /listening on http:\/\/([\d.]+:\d+)/.exec(line)?.[1]
        if (address) found(address)
      })
      child.once('error', (cause) =>
        failed(new Error(`${BIN} does not start: build it, or set ALLEYCAT_BIN`, { cause })),
      )
      child.once('exit', (code) =>
        failed(new Error(`the service ended with ${code}:\n${lines.join('\n')}`)),
      )
    })
    await until('the service is ready', async () => (await fetch(`${this.origin}/readyz`)).ok)
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async stop(): Promise<void> {
    await this.kill()
    await rm(this.folder, { recursive: true, force: true })
  }

  /** Lets simulated racers ride a race, the same at every run. */
  async feed(...options: string[]): Promise<void> {
    const child = spawn(
      BIN,
      ['simulate', '--to', `${this.origin}/firehose`, '--speed', 'max', '--seed', '7', ...options],
      { stdio: 'ignore' },
    )
    const [code] = (await once(child, 'exit')) as [number]
    expect(code, 'the simulation ends well').toBe(0)
  }

  /** Delivers records, as Firehose does. */
  async deliver(records: object[]): Promise<void> {
    const data = records.map((record) => ({
      data: Buffer.from(JSON.stringify(record)).toString('base64'),
    }))
    const body = JSON.stringify({ requestId: 'e2e', timestamp: Date.now(), records: data })
    const response = await fetch(`${this.origin}/firehose`, { method: 'POST', body })
    expect(response.status, await response.text()).toBe(200)
  }

  async json<T>(path: string): Promise<T> {
    const response = await fetch(this.origin + path)
    expect(response.status, path).toBe(200)
    return (await response.json()) as T
  }
}

/** Asks again and again until it is so. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + DEADLINE_MS
  while (!(await isSo().catch(() => false))) {
    if (performance.now() > end) throw new Error(`not in time: ${what}`)
    await new Promise((next) => setImmediate(next))
  }
}

function launch(): Promise<Browser> {
  const args = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ]
  return chromium.launch({ executablePath: CHROMIUM, args })
}

/** The browser of all tests of a file. */
let browser: Browser | undefined

/** Returns a service that runs, beside a browser, during all tests of a file. It begins with the races of `feed`. */
export function serviceOfFile({
  options = [],
  feed,
  shared,
}: {
  options?: string[]
  feed?: string[]
  shared?: SharedStore
}): Service {
  const service = new Service(options, shared)
  beforeAll(async () => {
    browser = await launch()
    await service.run()
    if (feed) await service.feed(...feed)
  })
  afterAll(async () => {
    await browser?.close()
    await service.stop()
  })
  return service
}

/** A page of its own, with everything that should never happen on it. */
export interface Visit {
  page: Page
  /** Errors on the console, and requests to anywhere but the service. */
  faults: string[]
}

export async function visit(
  service: { origin: string },
  path: string,
  options: BrowserContextOptions = {},
): Promise<Visit> {
  if (!browser) throw new Error('a file with tests of the page calls serviceOfFile')
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(DEADLINE_MS)
  const faults: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      faults.push(`${message.text()} ${message.location().url}`)
  })
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== service.origin)
      faults.push(`off the origin: ${request.url()}`)
  })
  await page.goto(service.origin + path)
  return { page, faults }
}

/** The rows of a board as they can be read on the page. */
export async function rowsOf(
  page: Page,
  section: string,
): Promise<{ rank: number; racerId: number; name: string; output: string }[]> {
  return page.locator(`section[aria-labelledby="${section}"] .board tbody tr`).evaluateAll((rows) =>
    // Those that leave are there for a moment, and not to be seen.
    rows
      .filter((row) => row.checkVisibility())
      .map((row) => ({
        rank: Number(row.querySelector('.rank')?.textContent.replaceAll(',', '')),
        racerId: Number((row as HTMLElement).dataset.racer),
        name: row.querySelector('.name')?.textContent ?? '',
        output: row.querySelector('.output')?.textContent ?? '',
      })),
  )
}

/** The rows of the service's response as the page writes them. */
export function written(
  standings: { rank: number; racerId: number; name?: string | null; output: number }[],
): Awaited<ReturnType<typeof rowsOf>> {
  return standings.map(({ rank, racerId, name, output }) => ({
    rank,
    racerId,
    name: name ?? `Racer ${racerId}`,
    output: output.toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 }),
  }))
}
