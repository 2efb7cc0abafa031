/** A server of S3's protocol, for services that share a bucket. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

import { expect } from 'vitest'

import { until, type SharedStore } from './support'

/** The program of the tests in Rust; `scripts/test-deps.sh` installs it. */
const SERVER = resolve(import.meta.dirname, '../../.venv/bin/ministack')

/** Returns a port that nothing listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export class S3Server implements SharedStore {
  readonly url = 's3://races/e2e'
  readonly #folder = mkdtempSync(join(tmpdir(), 'alleycat-e2e-s3-'))
  #process: ChildProcess | null = null
  #port = 0

  get env(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${this.#port}`,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'testsecret',
    }
  }

  /** Starts it with an empty bucket. */
  async start(): Promise<void> {
    this.#port = await freePort()
    this.#process = spawn(SERVER, [], {
      stdio: 'ignore',
      env: {
        ...process.env,
        BIND_HOST: '127.0.0.1',
        GATEWAY_PORT: String(this.#port),
        S3_PERSIST: '1',
        S3_DATA_DIR: this.#folder,
      },
    })
    this.#process.once('error', (error) => {
      throw new Error(`${SERVER} does not start (${error.message}): run scripts/test-deps.sh`)
    })
    const bucket = `${this.env.AWS_ENDPOINT_URL}/races`
    await until('the S3 server is up', async () => (await fetch(bucket)).status > 0)
    expect((await fetch(bucket, { method: 'PUT' })).status).toBe(200)
  }

  async stop(): Promise<void> {
    if (this.#process?.kill('SIGKILL')) await once(this.#process, 'exit')
    await rm(this.#folder, { recursive: true, force: true })
  }
}
