import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { launch, rowsOf, Service, until, visit, written } from './support'

interface Standing {
  rank: number
  racerId: number
  name: string | null
  output: number
}
interface Board {
  total: number
  standings: Standing[]
}

interface Race {
  raceId: number
  finished: boolean
}

/** Rides as racer 5 of the simulation, who has a best at every second. */
const RACER = { racerId: 5, name: 'Kofi', guest: false }
const TOP_OUTPUT = '305.25' // cadence 150 at resistance 100

let browser: Browser
let service: Service

beforeAll(async () => {
  browser = await launch()
  service = await Service.start()
  await service.feed('--classes', '1,2', '--racers', '60')
})
afterAll(async () => {
  await browser?.close()
  await service?.stop()
})

async function rideAs(page: Page, rider: object, classId = 1): Promise<void> {
  await page.evaluate(
    (rider) => localStorage.setItem('alleycat.rider', rider),
    JSON.stringify(rider),
  )
  await page.evaluate((classId) => (location.hash = `#/ride/${classId}`), classId)
  await page.reload()
}

async function start(page: Page, speed = '20×'): Promise<void> {
  await page.getByText(speed, { exact: true }).click()
  await page.getByRole('button', { name: 'Start the race' }).click()
}

async function set(
  page: Page,
  slider: 'Cadence' | 'Resistance',
  key: 'Home' | 'End',
): Promise<void> {
  await page.getByRole('slider', { name: slider }).focus()
  await page.keyboard.press(key)
}

/** Waits until that many seconds are over. */
async function reach(page: Page, seconds: number): Promise<void> {
  await page.waitForFunction((seconds) => {
    const [minutes, rest] = (document.querySelector('.clock')?.textContent ?? '0:0')
      .split(':')
      .map(Number)
    return (minutes ?? 0) * 60 + (rest ?? 0) >= seconds
  }, seconds)
}

/** Pauses, and says at which second the board stands. */
async function pause(page: Page): Promise<number> {
  await page.getByRole('button', { name: 'Pause' }).click()
  const caption = await page.locator('section[aria-labelledby="all-time"] caption').textContent()
  return Number(/\d+$/.exec(caption ?? '')?.[0])
}

/** Waits until a board shows these rows; fails with the difference otherwise. */
async function settled(
  page: Page,
  section: string,
  rows: Awaited<ReturnType<typeof rowsOf>>,
): Promise<void> {
  const isShown = async () => JSON.stringify(await rowsOf(page, section)) === JSON.stringify(rows)
  await until(`${section} shows what the service says`, isShown).catch(() => {})
  expect(await rowsOf(page, section)).toEqual(rows)
}

/** What axe-core finds on the page as it is. */
async function violations(page: Page): Promise<string[]> {
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

describe('riding', () => {
  it('shows rank, trophy and result, and keeps the ride where the service takes none', async () => {
    const { page, faults } = await visit(browser, service, '/')
    await page.getByLabel('Your name on the boards').fill('Visitor')
    await page.getByRole('radio', { name: /Class 2/ }).check()
    await page.getByRole('link', { name: 'To the start' }).click()
    await page.getByRole('heading', { name: /Class 2 as Visitor/ }).waitFor()
    await set(page, 'Cadence', 'End')
    await set(page, 'Resistance', 'End')
    await start(page)
    await reach(page, 40)
    const own = page.locator('section[aria-labelledby="all-time"] tr.you')
    expect(await own.textContent()).toContain(TOP_OUTPUT)
    expect(await own.getByText('personal record').count()).toBe(1)
    expect(await page.locator('[data-test=rank]').textContent()).toBe('1')
    expect(await page.locator('[data-test=output]').textContent()).toBe(TOP_OUTPUT)
    await page.getByRole('heading', { name: 'You hold every second of this class.' }).waitFor()
    expect(await page.locator('[data-test=records]').textContent()).toBe('300')
    expect(await page.locator('[data-test=best-rank]').textContent()).toBe('1st')
    expect(await page.locator('[data-test=sent]').textContent()).toContain('stays in this browser')
    expect(await page.locator('.curves canvas').count()).toBe(1)
    await page.getByRole('button', { name: 'Ride again' }).waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })

  for (const kind of ['history', 'service'] as const) {
    it(`has the all-time board that the service has, with the ${kind === 'history' ? 'history loaded' : 'service asked each second'}`, async () => {
      const { page, faults } = await visit(browser, service, '/')
      if (kind === 'service') {
        // As if the class were too large to load.
        await page.route('**/classes', async (route) => {
          const classes = (await (await route.fetch()).json()) as { historyBytes: number }[]
          await route.fulfill({
            json: classes.map((summary) => ({ ...summary, historyBytes: 1e9 })),
          })
        })
      }
      const asked: string[] = []
      page.on('request', (request) => asked.push(new URL(request.url()).pathname))
      await rideAs(page, RACER)
      await page.getByText('Class 1 as').waitFor()

      // Above the own best: the service's what-if.
      await set(page, 'Cadence', 'End')
      await start(page, '5×')
      await reach(page, 3)
      let second = await pause(page)
      let output = ((150 + 35) * (40 + 65)) / 100
      const path = (query: string) => `/classes/1/leaderboard?second=${second}&${query}`
      const whatIf = await service.json<Board>(path(`racerId=5&output=${output}&around=5&limit=9`))
      await settled(page, 'all-time', written(whatIf.standings))
      expect(await page.locator('.of').textContent()).toBe(`of ${whatIf.total}`)

      // Below it: the others' ranks are as they are without the racer.
      await set(page, 'Cadence', 'Home')
      await set(page, 'Resistance', 'Home')
      await page.getByRole('button', { name: 'Go on' }).click()
      await reach(page, second + 3)
      second = await pause(page)
      output = (35 * 65) / 100
      const everyone = await service.json<Board>(path('limit=1000'))
      const others = everyone.standings.filter((row) => row.racerId !== 5)
      const rank = others.filter((row) => row.output > output).length + 1
      expect(await page.locator('[data-test=rank]').textContent()).toBe(String(rank))
      const rows = await rowsOf(page, 'all-time')
      expect(rows.at(-1)).toEqual({ rank, racerId: 5, name: 'Kofi', output: '22.75' })
      expect(rows.slice(0, -1).map((row) => row.racerId)).toEqual(
        others.slice(-8).map((row) => row.racerId),
      )
      expect(asked.includes('/class-1.gz')).toBe(kind === 'history')
      expect(faults).toEqual([])
      await page.context().close()
    })
  }

  it('works by keyboard alone', async () => {
    const { page, faults } = await visit(browser, service, '/')
    const focus = async (name: string) =>
      until(`${name} has the focus`, async () => {
        const here = await page.evaluate(() => {
          const element = document.activeElement
          if (!element?.matches('a, button, input')) return ''
          return element instanceof HTMLInputElement
            ? (element.labels?.[0]?.textContent ?? element.name)
            : element.textContent
        })
        if (here.includes(name)) return true
        await page.keyboard.press('Tab')
        return false
      })
    await page
      .getByText(/class record, /)
      .first()
      .waitFor()
    await focus('Class 1')
    await page.keyboard.press('ArrowDown')
    await focus('To the start')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: /Class 2/ }).waitFor()
    await focus('1×')
    await page.keyboard.press('ArrowRight')
    await focus('Start the race')
    await page.keyboard.press('Enter')
    await reach(page, 1)
    await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur())
    const before = Number(await page.getByRole('slider', { name: 'Cadence' }).inputValue())
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('Shift+ArrowRight')
    expect(Number(await page.getByRole('slider', { name: 'Cadence' }).inputValue())).toBe(
      before + 2,
    )
    expect(Number(await page.getByRole('slider', { name: 'Resistance' }).inputValue())).toBe(50)
    await focus('Pause')
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: 'Go on' }).waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('exploring', () => {
  it('scrubs through the seconds, with the boards of the service', async () => {
    const { page, faults } = await visit(browser, service, '/#/explore/1')
    for (const [key, second] of [
      ['End', 300],
      ['ArrowLeft', 299],
      ['Home', 1],
    ] as const) {
      await page.getByRole('slider', { name: 'Second of the race' }).press(key)
      const board = await service.json<Board>(`/classes/1/leaderboard?second=${second}&limit=12`)
      await settled(page, 'board', written(board.standings))
      expect(await page.locator('[data-test=total]').textContent()).toBe(`${board.total} racers`)
    }
    await page.getByRole('button', { name: 'Lower' }).click()
    await settled(
      page,
      'board',
      written(
        (await service.json<Board>('/classes/1/leaderboard?second=1&limit=12&offset=12')).standings,
      ),
    )
    await page.getByText('Whole race').click()
    await settled(
      page,
      'board',
      written((await service.json<Board>('/classes/1/leaderboard?limit=12')).standings),
    )
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('finds a racer by name and compares curves with the class record', async () => {
    const { page, faults } = await visit(browser, service, '/#/explore/1')
    const add = page.getByRole('combobox', { name: 'Add a racer' })
    await add.fill('hube')
    const option = page.getByRole('option', { name: /^Hubert 1$/ })
    await option.waitFor()
    await add.press('Enter')
    await page.getByRole('button', { name: 'Remove Hubert', exact: true }).waitFor()
    expect(await page.locator('.legend').textContent()).toMatch(/Class record.*Hubert/s)
    interface Curve {
      seconds: { second: number; output: number; rank: number }[]
    }
    const { seconds } = await service.json<Curve>('/classes/1/racers/1')
    const point = seconds.find(({ second }) => second === 60)
    const row = page.locator('section[aria-labelledby="compare"] tbody tr', {
      has: page.getByRole('rowheader', { name: 'Hubert', exact: true }),
    })
    await row.getByText(point?.output.toFixed(2) ?? 'none').waitFor()
    expect(await row.locator('td').first().textContent()).toBe(String(point?.rank))
    // And on the board, the page around a racer.
    await page.getByRole('combobox', { name: 'Find a racer' }).fill('5')
    await page.getByRole('option', { name: /5$/ }).first().click()
    await settled(
      page,
      'board',
      written(
        (await service.json<Board>('/classes/1/leaderboard?second=60&around=5&limit=12')).standings,
      ),
    )
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('bests as they fall', () => {
  it('shows and says them, and tells class records from other bests', async () => {
    const own = await Service.start()
    try {
      await own.feed('--classes', '1', '--racers', '20', '--seconds', '30')
      const { page, faults } = await visit(browser, own, '/#/explore/1')
      const section = page.locator('section[aria-labelledby="fallen"]')
      await section.getByText('stands here').waitFor()
      await settled(
        page,
        'board',
        written((await own.json<Board>('/classes/1/leaderboard?second=60&limit=12')).standings),
      )
      // Whoever listens hears of what falls from then on, so they fall until one is heard of.
      let output = 300
      await until('a record is shown', async () => {
        await own.deliver([
          { classId: 1, second: 20, racerId: 5, name: 'Kofi', output: (output += 0.25) },
        ])
        return (await section.getByText('New class record at second 20: Kofi, 30').count()) > 0
      })
      const said = section.getByRole('status')
      expect(await said.getAttribute('aria-live')).toBe('polite')
      expect(await said.textContent()).toContain('New class record at second 20: Kofi, 30')
      // Records are said first, and then, in its turn, what is none.
      let other = 200
      await until('another best is said', async () => {
        await own.deliver([
          { classId: 1, second: 20, racerId: 900, name: 'Ada', output: (other += 0.25) },
        ])
        return /^New best at second 20: Ada, 2\d\d\.\d\d$/.test((await said.textContent()) ?? '')
      })
      expect(await section.getByRole('listitem').first().textContent()).toMatch(
        /New best at second 20: Ada, 2/,
      )
      expect(await section.getByText(/^\d+ new bests since you came$/).count()).toBe(1)
      expect(faults).toEqual([])
      await page.context().close()
    } finally {
      await own.stop()
    }
  })
})

describe('a service that is read with a key', () => {
  it('is opened with it, for as long as the tab is', async () => {
    const own = await Service.start('--query-key', 'open sesame')
    try {
      await own.feed('--classes', '1', '--racers', '20', '--seconds', '30')
      const { page, faults } = await visit(browser, own, '/#/explore/1')
      const asks = page.getByRole('heading', { name: 'A key, please' })
      await asks.waitFor()
      expect(await violations(page)).toEqual([])
      await page.getByLabel('Key for reading').fill('open barley')
      await page.getByRole('button', { name: 'Open' }).click()
      await page.getByRole('alert').getByText('does not take this key').waitFor()
      await page.getByLabel('Key for reading').fill('open sesame')
      await page.keyboard.press('Enter')
      const row = page.locator('section[aria-labelledby="board"] .board tbody tr')
      await page.getByRole('slider', { name: 'Second of the race' }).fill('20')
      await row.first().waitFor()
      expect(await asks.count()).toBe(0)
      // What is pushed needs it, too.
      let output = 300
      await until('a record is shown', async () => {
        await own.deliver([
          { classId: 1, second: 20, racerId: 5, name: 'Kofi', output: (output += 0.25) },
        ])
        return (await page.getByText('New class record at second 20: Kofi').count()) > 0
      })

      await page.reload()
      await page.getByRole('slider', { name: 'Second of the race' }).fill('20')
      await row.first().waitFor()
      expect(
        await page.evaluate(() => [
          sessionStorage.length,
          JSON.stringify(localStorage).includes('sesame'),
          document.cookie,
        ]),
      ).toEqual([1, false, ''])
      await page.getByRole('button', { name: 'Forget the key' }).click()
      await asks.waitFor()
      expect(faults.filter((fault) => !fault.includes('401'))).toEqual([])
      await page.context().close()
    } finally {
      await own.stop()
    }
  })
})

describe('races', () => {
  it('shows the results of one that is over, as the service has them', async () => {
    const { page, faults } = await visit(browser, service, '/#/explore/1')
    const [race] = await service.json<Race[]>('/classes/1/races')
    expect(race?.finished).toBe(true)
    await page.getByRole('button', { name: /60 racers, finished/ }).click()
    await settled(
      page,
      'races',
      written(
        (await service.json<Board>(`/classes/1/races/${race?.raceId}/leaderboard`)).standings,
      ),
    )
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('whatever happens', () => {
  it('says when a class is empty', async () => {
    const { page, faults } = await visit(browser, service, '/#/ride/3')
    await page.getByText('Nobody rode here yet: every second you ride is a record.').waitFor()
    await start(page)
    await reach(page, 5)
    expect(await page.locator('[data-test=rank]').textContent()).toBe('1')
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('says when the service is away, keeps what is there, and goes on when it is back', async () => {
    const own = await Service.start()
    try {
      await own.feed('--classes', '1', '--racers', '8', '--seconds', '60')
      const { page } = await visit(browser, own, '/#/explore/1')
      await page.locator('.board tbody tr').first().waitFor()
      await own.kill()
      await page.getByText('The service is away.').waitFor()
      expect((await rowsOf(page, 'board')).length).toBe(8)
      await page.getByRole('link', { name: 'Start line', exact: true }).click()
      expect(await page.getByRole('button', { name: 'To the start' }).isDisabled()).toBe(true)
      await own.run()
      await page.getByText('The service is back.').waitFor()
      await page.getByRole('link', { name: 'To the start' }).click()
      await start(page)
      await reach(page, 3)
      await page.context().close()
    } finally {
      await own.stop()
    }
  })

  it('goes on riding while the service is away', async () => {
    const own = await Service.start()
    try {
      await own.feed('--classes', '1', '--racers', '8', '--seconds', '300')
      const { page } = await visit(browser, own, '/#/ride/1')
      await start(page)
      await reach(page, 2)
      await own.kill()
      await page.getByRole('button', { name: 'Ride again' }).waitFor()
      expect(await page.locator('[data-test=records]').textContent()).toBe('300')
      await page.context().close()
    } finally {
      await own.stop()
    }
  })

  it('fits a phone, and nothing has to be scrolled sideways', async () => {
    const options = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }
    const { page, faults } = await visit(browser, service, '/', options)
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)
    await page
      .getByText(/class record, /)
      .first()
      .waitFor()
    expect(await fits()).toBe(true)
    await page.getByRole('link', { name: 'To the start' }).tap()
    await page.getByText('Ride for me').tap()
    await start(page)
    await reach(page, 10)
    expect(await fits()).toBe(true)
    // What is ridden and where one stands are seen at once.
    const { bottom, height } = await page
      .locator('.controls')
      .evaluate((e) => ({
        bottom: e.getBoundingClientRect().bottom + scrollY,
        height: innerHeight,
      }))
    expect(bottom).toBeLessThan(height)
    await page.evaluate(() => (location.hash = '#/explore/1'))
    await page.locator('.board tbody tr').first().waitFor()
    expect(await fits()).toBe(true)
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('has no violation that axe-core finds, in either light', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      const { page, faults } = await visit(browser, service, '/', {
        colorScheme,
        reducedMotion: 'reduce',
      })
      const check = async (what: string) =>
        expect(await violations(page), `${what}, ${colorScheme}`).toEqual([])
      await page
        .getByText(/class record, /)
        .first()
        .waitFor()
      await check('start line')
      await page.evaluate(() => (location.hash = '#/explore/1'))
      await page.locator('.board tbody tr').first().waitFor()
      await check('explore')
      await page.evaluate(() => (location.hash = '#/ride/1'))
      await page.getByText('Ride for me').click()
      await start(page)
      await reach(page, 20)
      await check('ride')
      await page.getByRole('button', { name: 'Ride again' }).waitFor()
      await check('result')
      expect(faults).toEqual([])
      await page.context().close()
    }
  })

  it('loads less than 200 kB of script and style at first', async () => {
    const folder = join(import.meta.dirname, '../dist/assets')
    const files = (await readdir(folder)).filter((name) => /\.(js|css)$/.test(name))
    const sizes = await Promise.all(
      files.map(async (name) => gzipSync(await readFile(join(folder, name))).length),
    )
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(200_000)
  })
})

describe('with a demo', () => {
  let demo: Service
  beforeAll(async () => {
    demo = await Service.start('--demo', '12')
  })
  afterAll(() => demo?.stop())

  it('sends the ride, which then stands on the boards of the service', async () => {
    const { page, faults } = await visit(browser, demo, '/')
    await page.getByLabel('Your name on the boards').fill('Sender')
    await page.getByRole('link', { name: 'To the start' }).click()
    await set(page, 'Cadence', 'End')
    await set(page, 'Resistance', 'End')
    await start(page)
    await page.locator('[data-test=sent][data-sent=sent]').waitFor()
    const { standings } = await demo.json<Board>('/classes/1/leaderboard?second=300')
    expect(standings[0]).toMatchObject({ rank: 1, name: 'Sender', output: 305.25 })
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('shows who is here now, as the service has it', async () => {
    const { page, faults } = await visit(browser, demo, '/#/ride/1')
    await until('here now is as the service says', async () => {
      const races = await demo.json<Race[]>('/classes/1/races')
      const race = races.find((race) => !race.finished) ?? races[0]
      const board = await demo.json<Board>(`/classes/1/races/${race?.raceId}/leaderboard`)
      const rows = await rowsOf(page, 'here-now')
      return (
        rows.length > 0 &&
        JSON.stringify(rows) === JSON.stringify(written(board.standings).slice(0, rows.length))
      )
    })
    expect(faults).toEqual([])
    await page.context().close()
  })
})
