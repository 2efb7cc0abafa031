import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'

import {
  asLargeClasses,
  paceAt,
  pause,
  RACER,
  reach,
  requestsOf,
  rideAs,
  set,
  start,
  type Board,
} from './actions'
import { serviceOfFile, until, visit } from './support'

const service = serviceOfFile({ feed: ['--classes', '1,2', '--racers', '60'] })

/** The output at the first resistance, by cadence. */
const outputOf = (cadence: number) => ((cadence + 35) * (40 + 65)) / 100

describe('a pacer', () => {
  it('is chosen on the start line, and the ride shows its line, its row and the gap', async () => {
    const { page, faults } = await visit(service, '/')
    await rideAs(page, RACER)
    await page.getByRole('link', { name: 'Choose a pacer' }).click()
    await page.getByRole('radio', { name: 'Top 10 %' }).check()
    const requests = requestsOf(page)
    await page.getByRole('link', { name: 'To the start' }).click()
    await page.getByText('Gap to Top 10 %').waitFor()
    expect(requests).toContain('/classes/1/pace')
    await set(page, 'Cadence', 'End')
    await start(page, '5×')
    await reach(page, 3)
    const second = await pause(page)

    const pace = await paceAt(service, 'percentile=90', second)
    const gap = outputOf(150) - pace
    const sign = gap > 0 ? '+' : '−'
    const shown = page.locator('[data-test=gap]')
    expect(await shown.textContent()).toBe(`${sign}${Math.abs(gap).toFixed(2)}`)
    const words = gap > 0 ? 'output, ahead' : 'output, behind'
    expect(await page.locator('.readings .pacer').textContent()).toContain(words)
    const row = page.locator('section[aria-labelledby="all-time"] tr.pacer')
    expect(await row.textContent()).toMatch(/Top 10 %\s*pacer/)
    expect(await row.locator('.output').textContent()).toBe(pace.toFixed(2))
    expect(await page.locator('.wheel .pace-line').getAttribute('d')).toMatch(/^M.*L/)
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('may be a rider by name, with whom the result compares the ride', async () => {
    const { page, faults } = await visit(service, '/')
    await page.getByRole('radio', { name: 'A rider' }).check()
    await page.locator('[data-test=pacer]').getByText('you ride without a pacer').waitFor()
    await page.getByRole('combobox', { name: 'Who sets the pace' }).fill('hube')
    await page.getByRole('option', { name: /^Hubert 1$/ }).click()
    await page.locator('[data-test=pacer]').getByText('Hubert').waitFor()
    await page.getByRole('link', { name: 'To the start' }).click()
    await page.getByText('Gap to Hubert').waitFor()
    await set(page, 'Cadence', 'End')
    await set(page, 'Resistance', 'End')
    await start(page)
    // The pacer's row comes and goes beyond the others, and the board keeps its height.
    const heights = await page.evaluate(async () => {
      const seen = new Set<number>()
      const board = () =>
        document.querySelector('section[aria-labelledby="all-time"] .board')?.clientHeight ?? 0
      while (!document.querySelector('[data-test=against]')) {
        if (board() > 0) seen.add(board())
        await new Promise(requestAnimationFrame)
      }
      return [...seen]
    })
    expect(heights).toHaveLength(1)
    await page.locator('[data-test=against]').getByText(/^\+/).waitFor()
    const result = page.locator('section[aria-labelledby="result"]')
    await result.getByText(/ahead at 300 of\s+300 seconds/).waitFor()
    await result.getByText('Pacer: Hubert').waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('that never rode the class is said to have no output there', async () => {
    const { page, faults } = await visit(service, '/')
    await page.getByRole('radio', { name: 'Your best' }).check()
    await page.getByRole('link', { name: 'To the start' }).click()
    await page.locator('.readings .pacer').getByText('no output in this class').waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('the result', () => {
  it('says what the next place takes, and the place among best finishes', async () => {
    const { page, faults } = await visit(service, '/')
    await rideAs(page, { racerId: 4242, name: 'Zoë', guest: true })
    await set(page, 'Cadence', 'Home')
    await start(page)
    await page.getByRole('button', { name: 'Ride again' }).waitFor()
    const whatIf = `racerId=4242&output=${outputOf(0)}&around=4242&limit=9`
    const last = await service.json<Board>(`/classes/1/leaderboard?second=300&${whatIf}`)
    const above = last.standings.findLast((row) => row.output > outputOf(0))
    const gap = ((above?.output ?? NaN) - outputOf(0)).toFixed(2)
    expect(await page.locator('[data-test=next]').textContent()).toBe(`+${gap}`)
    const finishes = await service.json<Board>(`/classes/1/leaderboard?by=finish&${whatIf}`)
    const own = finishes.standings.find((row) => row.racerId === 4242)
    const place = new RegExp(`^\\s*${own?.rank}(st|nd|rd|th)\\s*$`)
    await page.locator('[data-test=finish]').getByText(place).waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })
})

type Ranks = (readonly [racerId: number, amongRivals: number, amongAll: number])[]

/** Returns the rows of the rivals' board. */
async function ranksOf(page: Page): Promise<Ranks> {
  const rows = page.locator('section[aria-labelledby="rivals"] tbody tr')
  return rows.evaluateAll((rows) =>
    rows.map((row) => {
      const cell = (name: string) => Number(row.querySelector(name)?.textContent)
      return [Number((row as HTMLElement).dataset.racer), cell('.rank'), cell('.overall')] as const
    }),
  )
}

async function shows(page: Page, rows: Ranks): Promise<void> {
  const isShown = async () => JSON.stringify(await ranksOf(page)) === JSON.stringify(rows)
  await until('the rivals are shown', isShown).catch(() => {})
  expect(await ranksOf(page)).toEqual(rows)
}

async function group(query: string): Promise<Ranks> {
  type Group = { standings: { racerId: number; groupRank: number; rank: number }[] }
  const { standings } = await service.json<Group>(`/classes/1/leaderboard?${query}`)
  return standings.map(({ racerId, groupRank, rank }) => [racerId, groupRank, rank])
}

describe('rivals', () => {
  for (const kind of ['history', 'service'] as const) {
    it(`have both ranks, with the boards of the ${kind}, and stay on the device`, async () => {
      const { page, faults } = await visit(service, '/')
      if (kind === 'service') await asLargeClasses(page)
      await rideAs(page, RACER)
      const search = page.getByRole('combobox', { name: 'Add a rival' })
      await search.fill('hube')
      await page.getByRole('option', { name: /^Hubert 1$/ }).click()
      await search.fill('17')
      await page.getByRole('option', { name: /17$/ }).first().click()
      await shows(page, await group('racers=1,17,5'))
      await page.reload()
      await shows(page, await group('racers=1,17,5'))

      // Above the own best, and below it.
      await set(page, 'Cadence', 'End')
      await start(page, '5×')
      await reach(page, 3)
      let second = await pause(page)
      const whatIf = `racers=1,17,5&racerId=5&output=${outputOf(150)}`
      await shows(page, await group(`second=${second}&${whatIf}`))
      await set(page, 'Cadence', 'Home')
      await set(page, 'Resistance', 'Home')
      await page.getByRole('button', { name: 'Go on' }).click()
      await reach(page, second + 3)
      second = await pause(page)
      const path = `/classes/1/leaderboard?second=${second}&limit=1000`
      const { total, standings } = await service.json<Board>(path)
      const others = standings.filter(({ racerId }) => racerId !== RACER.racerId)
      const rivals = others.filter(({ racerId }) => racerId === 1 || racerId === 17)
      const above = (output: number) => others.filter((row) => row.output > output).length
      await shows(page, [
        ...rivals.map(({ racerId, output }, i) => [racerId, i + 1, above(output) + 1] as const),
        [RACER.racerId, 3, total],
      ])

      await page.getByText('Choose rivals').click()
      await page.getByRole('button', { name: 'Remove Hubert', exact: true }).click()
      await until('one is left', async () => (await ranksOf(page)).length === 2)
      expect(faults).toEqual([])
      await page.context().close()
    })
  }
})
