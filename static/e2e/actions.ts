/** Actions on the page, for tests. */
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'

import type { Page } from 'playwright-core'
import { expect } from 'vitest'

import { rowsOf, until, written, type Service } from './support'

interface Standing {
  rank: number
  racerId: number
  name: string | null
  output: number
}
export interface Board {
  total: number
  standings: Standing[]
}

export interface Race {
  raceId: number
  racers: number
  lastSecond: number
  finished: boolean
}

/** Rides as racer 5 of the simulation, who has a best at every second. */
export const RACER = { racerId: 5, name: 'Kofi', guest: false }

interface Pace {
  seconds: number[]
  curves: { outputs: (number | null)[] }[]
}

/** Returns the output of a pacer's curve at a second, as the service has it. */
export async function paceAt(service: Service, query: string, second: number): Promise<number> {
  const { seconds, curves } = await service.json<Pace>(`/classes/1/pace?${query}`)
  return curves[0]?.outputs[seconds.indexOf(second)] ?? NaN
}

/** Opens a class as a rider of the device. */
export async function rideAs(page: Page, rider: object, classId = 1): Promise<void> {
  const [base] = page.url().split('#')
  const stored = JSON.stringify(rider)
  await page.evaluate((stored) => localStorage.setItem('alleycat.rider', stored), stored)
  // The page is loaded anew. A mere change of the hash could be undone by a navigation that still goes on.
  await page.goto('about:blank')
  await page.goto(`${base}#/ride/${classId}`)
}

/** Waits until the page has loaded all of its scripts, so that it needs the service for data only. */
export async function allLoaded(page: Page): Promise<void> {
  const files = await readdir(join(import.meta.dirname, '../dist/assets'))
  const scripts = files.filter((file) => file.endsWith('.js'))
  await page.waitForFunction((scripts) => {
    const loaded = performance.getEntriesByType('resource').map(({ name }) => name)
    return scripts.every((script) => loaded.some((name) => name.endsWith(script)))
  }, scripts)
}

export async function start(page: Page, speed = '20×'): Promise<void> {
  await page.getByText(speed, { exact: true }).click()
  await page.getByRole('button', { name: 'Start the race' }).click()
}

/** Gives up the ride, and returns the question before it. */
export async function giveUp(page: Page): Promise<string> {
  const asked = page.waitForEvent('dialog')
  const click = page.getByRole('button', { name: 'Give up' }).click()
  const dialog = await asked
  await dialog.accept()
  await click
  return dialog.message()
}

export async function set(
  page: Page,
  slider: 'Cadence' | 'Resistance',
  key: 'Home' | 'End',
): Promise<void> {
  await page.getByRole('slider', { name: slider }).focus()
  await page.keyboard.press(key)
}

/** Returns the seconds of a text with minutes and seconds. */
function secondsOf(text: string | null): number | null {
  const [, minutes, seconds] = /(\d+):(\d+)/.exec(text ?? '') ?? []
  return seconds === undefined ? null : Number(minutes) * 60 + Number(seconds)
}

/** Waits until that many seconds are over. */
export async function reach(page: Page, seconds: number): Promise<void> {
  await page.waitForFunction((seconds) => {
    const [minutes, rest] = (document.querySelector('.clock')?.textContent ?? '0:0')
      .split(':')
      .map(Number)
    return (minutes ?? 0) * 60 + (rest ?? 0) >= seconds
  }, seconds)
}

/** Pauses, and returns the second of the clock once the board shows it. */
export async function pause(page: Page): Promise<number> {
  await page.getByRole('button', { name: 'Pause' }).click()
  const second = secondsOf(await page.locator('.clock').textContent())
  const caption = page.locator('section[aria-labelledby="all-time"] caption')
  await until(
    'the board is that of the clock',
    async () => secondsOf(await caption.textContent()) === second,
  )
  return second ?? 0
}

/** Waits until a board shows these rows; fails with the difference otherwise. */
export async function settled(
  page: Page,
  section: string,
  rows: Awaited<ReturnType<typeof rowsOf>>,
): Promise<void> {
  const isShown = async () => JSON.stringify(await rowsOf(page, section)) === JSON.stringify(rows)
  await until(`${section} shows what the service says`, isShown).catch(() => {})
  expect(await rowsOf(page, section)).toEqual(rows)
}

/** Waits until a board shows the standings that the service returns at a path. */
export async function settledAs(
  page: Page,
  section: string,
  service: Service,
  path: string,
): Promise<void> {
  const { standings } = await service.json<Board>(path)
  await settled(page, section, written(standings))
}

/** Returns what axe-core finds on the page as it is. */
export async function violations(page: Page): Promise<string[]> {
  const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
  await page.evaluate(axe) // not as a script of the page: its policy takes none
  return page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof import('axe-core') }).axe.run()
    return violations.map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map((node) => `${node.html} ${node.any[0]?.message ?? ''}`).join('; ')}`,
    )
  })
}

/** Returns whether nothing has to be scrolled sideways. */
export function fits(page: Page): Promise<boolean> {
  return page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)
}

/** Returns the text of the element that has the focus. */
export function focused(page: Page): Promise<string> {
  return page.evaluate(() => document.activeElement?.textContent?.trim() ?? '')
}

/** Makes the page believe that all classes are too large to load. */
export async function asLargeClasses(page: Page): Promise<void> {
  await page.route('**/classes', async (route) => {
    const classes = (await (await route.fetch()).json()) as { historyBytes: number }[]
    await route.fulfill({ json: classes.map((summary) => ({ ...summary, historyBytes: 1e9 })) })
  })
}

/** Records the paths of all requests from now on. */
export function requestsOf(page: Page): string[] {
  const paths: string[] = []
  page.on('request', (request) => paths.push(new URL(request.url()).pathname))
  return paths
}
