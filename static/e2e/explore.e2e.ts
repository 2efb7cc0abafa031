import { describe, expect, it } from 'vitest'

import {
  fits,
  focused,
  requestsOf,
  settled,
  settledAs,
  violations,
  type Board,
  type Race,
} from './actions'
import { Service, serviceOfFile, until, visit, written } from './support'

const service = serviceOfFile({ feed: ['--classes', '1,2', '--racers', '60'] })

describe('exploring', () => {
  it('scrubs through the seconds, with the boards of the service', async () => {
    const { page, faults } = await visit(service, '/#/explore/1')
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
    await settledAs(page, 'board', service, '/classes/1/leaderboard?second=1&limit=12&offset=12')
    await page.getByText('Whole race').click()
    await settledAs(page, 'board', service, '/classes/1/leaderboard?limit=12')
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('finds a racer by name and compares curves with the class record', async () => {
    const { page, faults } = await visit(service, '/#/explore/1')
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
    await settledAs(page, 'board', service, '/classes/1/leaderboard?second=60&around=5&limit=12')
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('addresses', () => {
  it('of a class, a second, racers and a race survive a reload, and Back undoes a step', async () => {
    const { page, faults } = await visit(service, '/#/explore/1/120')
    const slider = page.getByRole('slider', { name: 'Second of the race' })
    await slider.waitFor()
    expect(await slider.inputValue()).toBe('120')
    await page.getByRole('combobox', { name: 'Add a racer' }).fill('hube')
    await page.getByRole('option', { name: /^Hubert 1$/ }).click()
    await page.getByRole('button', { name: 'Remove Hubert', exact: true }).waitFor()
    await slider.press('ArrowRight')
    const [race] = await service.json<Race[]>('/classes/1/races')
    await page.getByRole('button', { name: /60 racers, finished/ }).click()
    const board = page.locator('section[aria-labelledby="races"] .board')
    await board.waitFor()
    const address = new URLSearchParams(page.url().split('?')[1])
    expect(address.get('second')).toBe('121')
    expect(address.get('race')).toBe(String(race?.raceId))
    expect(address.get('racers')?.split(',')).toContain('1')

    await page.reload()
    await board.waitFor()
    expect(await slider.inputValue()).toBe('121')
    await page.getByRole('button', { name: 'Remove Hubert', exact: true }).waitFor()
    await page.goBack()
    await board.waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Remove Hubert', exact: true }).waitFor()
    await page.getByRole('link', { name: 'Class 2' }).click()
    await page.getByRole('heading', { name: 'Class 2' }).waitFor()
    expect(await slider.inputValue()).toBe('121')
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('are copied to be shared, with the racers that are compared', async () => {
    const permissions = ['clipboard-read', 'clipboard-write']
    const { page } = await visit(service, '/#/explore/1?second=90', { permissions })
    // The best two of the class are suggested.
    const { standings } = await service.json<Board>('/classes/1/leaderboard?limit=2')
    await page
      .getByRole('button', { name: /^Remove / })
      .nth(1)
      .waitFor()
    await page.getByRole('button', { name: 'Copy link' }).click()
    await page.getByText('Copied').waitFor()
    const copied = await page.evaluate(() => navigator.clipboard.readText())
    const racers = standings.map(({ racerId }) => racerId).join()
    expect(copied).toBe(`${service.origin}/#/explore/1?second=90&racers=${racers}`)
    await page.context().close()
  })

  it('are copied also where the browser has no clipboard API, and the button keeps the focus', async () => {
    const { page } = await visit(service, '/')
    // As on an origin without TLS.
    await page.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, 'clipboard'))
    await page.goto('about:blank')
    await page.goto(`${service.origin}/#/explore/1`)
    await page.getByRole('button', { name: 'Copy link' }).press('Enter')
    await page.getByText('Copied').waitFor()
    expect(await focused(page)).toBe('Copy link')
    await page.context().close()
  })

  it.each([
    ['/#/ride/999', 'There is no class 999'],
    ['/#/explore/999', 'There is no class 999'],
    ['/#/nowhere', 'No such page'],
  ])('%s is not found', async (path, heading) => {
    const { page, faults } = await visit(service, path)
    await page.getByRole('heading', { name: heading }).waitFor()
    expect(await page.title()).toBe('Not found · Alleycat')
    expect(await page.locator('nav [aria-current]').count()).toBe(0)
    const ride = page.getByRole('link', { name: 'Ride', exact: true })
    expect(await ride.getAttribute('href')).toBe('#/ride/1')
    await page.getByRole('link', { name: 'To the start line' }).click()
    await page.getByRole('heading', { name: 'Race against everyone who ever rode.' }).waitFor()
    // Nothing is requested of a class that the service does not list.
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('finding a racer', () => {
  it('highlights the row, and says who is not on the board', async () => {
    const { page, faults } = await visit(service, '/#/explore/2?second=90')
    const search = page.getByRole('combobox', { name: 'Find a racer' })
    await search.fill('17')
    await page.getByRole('option', { name: /17$/ }).click()
    const row = page.locator('section[aria-labelledby="board"] tr.highlighted')
    await row.waitFor()
    expect(await row.getAttribute('data-racer')).toBe('17')
    expect(await row.textContent()).toContain('found')
    // Ada rides class 1 only. The message is about this second.
    await service.deliver([{ classId: 1, second: 90, racerId: 777, name: 'Ada Q', output: 1 }])
    await search.fill('ada q')
    await page.getByRole('option', { name: /777$/ }).click()
    const message = page.locator('[data-test=board-message]')
    await message.getByText(/Ada Q.* has no best at 1:30/).waitFor()
    await page.getByRole('slider', { name: 'Second of the race' }).press('End')
    await settledAs(page, 'board', service, '/classes/2/leaderboard?second=300&limit=12')
    expect(await message.textContent()).toBe('')
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('sends one request for a word, and Enter after Escape chooses nobody', async () => {
    const { page } = await visit(service, '/#/explore/1')
    const search = page.getByRole('combobox', { name: 'Add a racer' })
    await search.waitFor()
    const requests = requestsOf(page)
    await search.pressSequentially('hubert', { delay: 20 })
    const option = page.getByRole('option', { name: /^Hubert 1$/ })
    await option.waitFor()
    expect(requests.filter((path) => path === '/racers')).toHaveLength(1)
    await search.press('Escape')
    await option.waitFor({ state: 'detached' })
    expect(await search.getAttribute('aria-activedescendant')).toBeNull()
    expect(await violations(page)).toEqual([])
    await search.press('Enter')
    await search.press('Tab')
    expect(await page.getByRole('button', { name: 'Remove Hubert', exact: true }).count()).toBe(0)
    await page.context().close()
  })
})

describe('a search', () => {
  it('takes the first racer if Enter comes before the list, and runs again after a failure', async () => {
    const { page } = await visit(service, '/#/explore/1')
    const search = page.getByRole('combobox', { name: 'Add a racer' })
    await search.pressSequentially('hubert')
    await search.press('Enter')
    const remove = page.getByRole('button', { name: 'Remove Hubert', exact: true })
    await remove.waitFor()
    expect(await search.inputValue()).toBe('')
    await remove.click()

    const panel = page.locator('section[aria-labelledby="compare"]')
    await page.route('**/racers?*', (route) => route.abort())
    await search.fill('hubert')
    await panel.getByText('The service does not respond.').waitFor()
    await page.unroute('**/racers?*')
    await search.press('Enter')
    await remove.waitFor()
    await page.context().close()
  })
})

describe('the focus', () => {
  it('stays where a button goes away, and comes along to another class', async () => {
    const { page, faults } = await visit(service, '/#/explore/1')
    const has = (what: string) =>
      until(`${what} has the focus`, () =>
        page.evaluate((what) => {
          const element = document.activeElement
          const words = element?.getAttribute('aria-label') ?? element?.textContent?.trim()
          return element?.id === what || words?.startsWith(what) === true
        }, what),
      )
    const remove = page.getByRole('button', { name: /^Remove / })
    await remove.nth(1).waitFor()
    for (let left = await remove.count(); left > 0; left--) {
      await remove.first().press('Enter')
      await until('the racer is gone', async () => (await remove.count()) === left - 1)
      await has(left > 1 ? 'Remove' : 'Curves side by side')
    }
    await page.getByRole('button', { name: 'Lower' }).press('Enter')
    const top = page.getByRole('button', { name: 'To the top' })
    await until(
      'a page is turned',
      async () => (await top.getAttribute('aria-disabled')) === 'false',
    )
    await top.press('Enter')
    await until('at the top', async () => (await top.getAttribute('aria-disabled')) === 'true')
    await has('To the top')
    await page.getByRole('link', { name: 'Class 2' }).press('Enter')
    await page.getByRole('heading', { name: 'Class 2' }).waitFor()
    await has('main')
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('the second', () => {
  it('stands still while the whole race is shown', async () => {
    const { page } = await visit(service, '/#/explore/1')
    const slider = page.getByRole('slider', { name: 'Second of the race' })
    await page.getByRole('button', { name: 'Play' }).click()
    await until('the second moves', async () => Number(await slider.inputValue()) > 61)
    await page.getByText('Whole race').click()
    await page.getByRole('button', { name: 'Play' }).waitFor()
    expect(await slider.isDisabled()).toBe(true)
    await page.context().close()
  })
})

/** Returns a ride of two seconds as the device keeps it, by a rider and beside a pacer of that name. */
function rideBeside(name: string) {
  const outputs = [100, 120]
  const columns = { cadences: [80, 90], resistances: [40, 40], outputs, classRecords: outputs }
  const ranks = { bests: [null, null], ranks: [1, 1], totals: [1, 1] }
  const state = { practice: true, sent: false, delivered: false, refused: null }
  const head = { raceId: 1000, classId: 1, racerId: 5, riderName: name }
  return { ...head, ...state, ...columns, ...ranks, pacer: { label: name, outputs } }
}

describe('long names', () => {
  it('break, and do not widen the page', async () => {
    const name = 'W'.repeat(100)
    const own = await Service.start()
    try {
      await own.deliver([{ classId: 1, second: 60, racerId: 9, name, output: 200, raceId: 1000 }])
      for (const width of [320, 1366]) {
        const viewport = { width, height: 800 }
        const { page } = await visit(own, '/#/explore/1?racers=9&race=1000', { viewport })
        await page.getByRole('button', { name: /^Remove W/ }).waitFor()
        await page.locator('section[aria-labelledby="races"] .board').waitFor()
        await page.locator('.curves canvas').waitFor()
        expect(await fits(page), `explore at ${width}`).toBe(true)
        await page.getByRole('combobox', { name: 'Find a racer' }).fill('www')
        await page.getByRole('option', { name: /^W/ }).waitFor()
        expect(await fits(page), `search at ${width}`).toBe(true)
        // Numbers beside a name stay in one line.
        for (const number of ['.option .number', '.legend .number']) {
          const box = await page.locator(number).last().boundingBox()
          expect(box?.height, `${number} at ${width}`).toBeLessThan(30)
        }
        await page.getByRole('link', { name: 'Start line', exact: true }).click()
        await page.getByText('class record, W').waitFor()
        expect(await fits(page), `start line at ${width}`).toBe(true)
        await page.evaluate((ride) => {
          localStorage.setItem(`alleycat.rides.${ride.raceId}`, JSON.stringify(ride))
          location.hash = `#/ride/1?ride=${ride.raceId}`
        }, rideBeside(name))
        await page.reload()
        await page.locator('[data-test=against]').waitFor()
        await page.locator('.curves canvas').waitFor()
        expect(await fits(page), `result at ${width}`).toBe(true)
        await page.context().close()
      }
    } finally {
      await own.stop()
    }
  })
})

describe('bests as they fall', () => {
  it('shows and says them, and tells class records from other bests', async () => {
    const own = await Service.start()
    try {
      await own.feed('--classes', '1', '--racers', '20', '--seconds', '30')
      const { page, faults } = await visit(own, '/#/explore/1')
      const section = page.locator('section[aria-labelledby="new-bests"]')
      await section.getByText('stands here').waitFor()
      await settledAs(page, 'board', own, '/classes/1/leaderboard?second=60&limit=12')
      // The page gets bests from its subscription on, so new ones are delivered until one is shown.
      let output = 300
      await until('a record is shown', async () => {
        await own.deliver([
          { classId: 1, second: 20, racerId: 5, name: 'Kofi', output: (output += 0.25) },
        ])
        return (await section.getByText('New class record at 0:20: Kofi, 30').count()) > 0
      })
      const announcement = section.getByRole('status')
      expect(await announcement.getAttribute('aria-live')).toBe('polite')
      expect(await announcement.textContent()).toContain(
        'New class record at 0:20: \u2068Kofi\u2069, 30',
      )
      // Class records are announced first, other bests in a later announcement.
      let other = 200
      await until('another best is announced', async () => {
        await own.deliver([
          { classId: 1, second: 20, racerId: 900, name: 'Ada', output: (other += 0.25) },
        ])
        return /^New best at 0:20: \u2068Ada\u2069, 2\d\d\.\d\d$/.test(
          (await announcement.textContent()) ?? '',
        )
      })
      expect(await section.getByRole('listitem').first().textContent()).toMatch(
        /New best at 0:20: Ada, 2/,
      )
      expect(await section.getByText(/^\s*\d+ new bests seen\s*$/).count()).toBe(1)
      // More records at once than the list shows: all of them raise the plot's class record.
      const best = { classId: 1, racerId: 5, name: 'Kofi', output: 400 }
      await own.deliver(Array.from({ length: 19 }, (_, i) => ({ ...best, second: i + 1 })))
      const record = page.locator('.legend li', { hasText: 'Class record' })
      for (const second of ['1', '10', '19']) {
        await page.getByRole('slider', { name: 'Second of the race' }).fill(second)
        await record.getByText('400.00').waitFor()
      }
      expect(faults).toEqual([])
      await page.context().close()
    } finally {
      await own.stop()
    }
  })
})

describe('best finishes', () => {
  it('are paged, under an address that can be shared, with the race of each', async () => {
    const { page, faults } = await visit(service, '/#/explore/1')
    const board = (query: string) =>
      settledAs(page, 'board', service, `/classes/1/leaderboard?by=finish&limit=12${query}`)
    await page.getByRole('radio', { name: 'Finishes' }).check()
    await board('')
    await page.getByText('One that was given up counts as well.').waitFor()
    const panel = page.locator('section[aria-labelledby="board"]')
    await panel.getByRole('button', { name: 'Lower' }).click()
    await board('&offset=12')
    await page.reload()
    await board('&offset=12')
    expect(page.url()).toMatch(/board=finish&page=/)
    await page.goBack()
    await board('')
    await page.goBack()
    await page.getByRole('heading', { name: 'All time at 1:00' }).waitFor()
    await page.goForward()
    await board('')

    const [race] = await service.json<Race[]>('/classes/1/races')
    await panel.locator('tbody tr').first().getByRole('link').click()
    await page.locator('section[aria-labelledby="races"] .board').waitFor()
    expect(page.url()).toContain(`race=${race?.raceId}`)
    expect(await focused(page)).toBe('Races')
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('say who has none', async () => {
    const { page, faults } = await visit(service, '/#/explore/1?board=finish')
    await service.deliver([{ classId: 1, second: 9, racerId: 778, name: 'Ida Q', output: 1 }])
    await page.getByRole('combobox', { name: 'Find a racer' }).fill('ida q')
    await page.getByRole('option', { name: /778$/ }).click()
    const message = page.locator('[data-test=board-message]')
    await message.getByText(/Ida Q.* has not finished a race/).waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('races', () => {
  it('begin at the newest again where the service does not take the page of an address', async () => {
    const cursor = 'A'.repeat(24)
    const { page } = await visit(service, `/#/explore/1?page=${cursor}&races=${cursor}`)
    const panel = page.locator('section[aria-labelledby="races"]')
    await panel.getByRole('button', { name: /60 racers, finished/ }).waitFor()
    await page.waitForURL('**/#/explore/1')
    expect(await page.getByText(/cursor/).count()).toBe(0)
    await page.context().close()
  })

  it('shows the results of one that is over, page by page, as the service has them', async () => {
    const { page, faults } = await visit(service, '/#/explore/1')
    const [race] = await service.json<Race[]>('/classes/1/races')
    expect(race?.finished).toBe(true)
    await page.getByRole('button', { name: /60 racers, finished/ }).click()
    const path = `/classes/1/races/${race?.raceId}/leaderboard?limit=50`
    await settledAs(page, 'races', service, path)
    const panel = page.locator('section[aria-labelledby="races"]')
    await panel.getByRole('button', { name: 'Lower' }).click()
    await settledAs(page, 'races', service, `${path}&offset=50`)
    await page.reload()
    await settledAs(page, 'races', service, `${path}&offset=50`)
    await panel.getByRole('button', { name: 'To the top' }).click()
    await settledAs(page, 'races', service, path)
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('are listed page by page, under an address that can be shared', async () => {
    const own = await Service.start()
    try {
      const now = Date.now()
      const races = Array.from({ length: 11 }, (_, i) => ({
        classId: 1,
        second: 1,
        racerId: 9,
        output: 100,
        raceId: 100 + i,
        deviceTimestamp: now - 60_000 * (11 - i),
      }))
      await own.deliver(races)
      const { page, faults } = await visit(own, '/#/explore/1')
      const list = page.getByRole('list', { name: 'Recent races' }).getByRole('listitem')
      const has = (count: number) =>
        until(`${count} races`, async () => (await list.count()) === count)
      await has(8)
      await page.getByRole('button', { name: 'Earlier races' }).click()
      await has(3)
      await page.reload()
      await has(3)
      expect(page.url()).toContain('races=')
      // The focus stays where a page was turned.
      const newest = page.getByRole('button', { name: 'Newest' })
      await newest.press('Enter')
      await has(8)
      expect(await focused(page)).toBe('Newest')
      expect(faults).toEqual([])
      await page.context().close()
    } finally {
      await own.stop()
    }
  })
})
