import { randomUUID } from 'node:crypto'

import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'

import { giveUp, reach, requestsOf, set, start, violations, type Board, type Race } from './actions'
import { rowsOf, serviceOfFile, until, visit, written } from './support'

const demo = serviceOfFile({ options: ['--demo', '12'] })

interface Sent {
  event: string
  second: number
  raceId: number
  racerId: number
  name?: string
}

/** Records what the page sends. */
function sentBy(page: Page): Sent[] {
  const sent: Sent[] = []
  page.on('request', (request) => {
    if (!request.url().endsWith('/rides')) return
    sent.push(...(request.postDataJSON() as Sent[]))
  })
  return sent
}

/** Begins a ride at the greatest output. */
async function rideFrom(page: Page, name: string, speed: string): Promise<void> {
  await page.getByLabel('Your name on the boards').fill(name)
  await page.getByRole('link', { name: 'To the start' }).click()
  await set(page, 'Cadence', 'End')
  await set(page, 'Resistance', 'End')
  await start(page, speed)
}

/** Kills the process of a page, so that the page runs nothing any more. */
async function kill(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page)
  const crashed = page.waitForEvent('crash')
  // There is no response from a page that is gone.
  session.send('Page.crash').catch(() => {})
  await crashed
}

describe('a ride', () => {
  it('is sent, and one that is given up ends with its last second', async () => {
    const { page, faults } = await visit(demo, '/')
    const sent = sentBy(page)
    await rideFrom(page, 'Sender', '1×')
    await reach(page, 3)
    await page.getByText('Your ride is sent to the service and counts.').waitFor()
    expect(await giveUp(page)).toContain('The seconds so far count.')
    await until('the end is sent', async () => sent.at(-1)?.event === 'final')
    const last = sent.at(-1)
    expect(last).toMatchObject({ name: 'Sender' })
    expect(new Set(sent.map(({ second }) => second)).size).toBe(last?.second)
    await until('it stands on the board', async () => {
      const board = await demo.json<Board>(`/classes/1/leaderboard?second=${last?.second}`)
      return board.standings[0]?.name === 'Sender' && board.standings[0].output === 305.25
    })
    await until('its race is over', async () => {
      const races = await demo.json<Race[]>('/classes/1/races')
      return races.some((race) => race.racers === 1 && race.finished)
    })
    // The device keeps it, and says that it was given up, also after a reload.
    const result = page.getByText(`given up at 0:0${last?.second}`)
    await result.waitFor()
    await page.reload()
    await result.waitFor()
    await page.getByRole('link', { name: 'Start line', exact: true }).click()
    const own = page.locator('section[aria-labelledby="own-rides"]')
    expect(await own.innerText()).toContain(`given up at 0:0${last?.second}`)
    expect(await page.getByText('A racer of this device').count()).toBe(1)
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('is whole on the boards after its last second, with a link to share', async () => {
    const { page, faults } = await visit(demo, '/')
    await page.clock.install()
    await page.reload()
    await rideFrom(page, 'Finisher', '1×')
    await reach(page, 1)
    await page.clock.runFor(300_000)
    // The leap may have ended a request's time, and begun a long wait.
    await page.evaluate(() => dispatchEvent(new Event('online')))
    await page.locator('[data-test=sent][data-sent=sent]').waitFor()
    const { standings } = await demo.json<Board>('/classes/1/leaderboard?second=300')
    expect(standings[0]).toMatchObject({ rank: 1, name: 'Finisher', output: 305.25 })
    await page.getByRole('button', { name: 'Copy link' }).waitFor()
    await page.reload()
    await page.locator('[data-test=sent][data-sent=sent]').waitFor()
    // The result says where the ride is, and nothing beside it says more.
    expect(await page.getByText('Your ride is sent to the service and counts.').count()).toBe(0)
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('faster than real time is not sent, and says so', async () => {
    const { page, faults } = await visit(demo, '/')
    const sent = sentBy(page)
    await rideFrom(page, 'Cheater', '20×')
    await page.getByText('Practice', { exact: true }).waitFor()
    await page.getByText(/stays in this browser and does not count/).waitFor()
    await page.locator('[data-test=sent][data-sent=practice]').waitFor()
    expect(sent).toEqual([])
    // Its last second and its tag stay, whatever is chosen for the next ride.
    const readings = page.locator('dl.readings')
    const before = await readings.innerText()
    await set(page, 'Cadence', 'Home')
    await page.getByText('1×', { exact: true }).click()
    expect(await readings.innerText()).toBe(before)
    expect(before).toMatch(/305\.25[^]*First ever/)
    expect(await page.getByText('Practice', { exact: true }).isVisible()).toBe(true)
    const other = await page.context().newPage()
    await other.goto(`${demo.origin}/`)
    await other.getByLabel('Your name on the boards').fill('Other')
    await page.getByText('The next ride is Other’s, and counts.').waitFor()
    await page.getByRole('heading', { name: /as Cheater/ }).waitFor()
    // A ride that counts stays one.
    await page.getByRole('button', { name: 'Ride again' }).click()
    await page.getByRole('heading', { name: /as Other/ }).waitFor()
    await reach(page, 1)
    expect(await page.getByRole('radio', { name: '20 times' }).isDisabled()).toBe(true)
    expect(await page.getByRole('switch', { name: 'Ride for me' }).isDisabled()).toBe(true)
    await giveUp(page)
    await page.getByRole('radio', { name: '20 times' }).check()
    await until('the end is sent', async () => sent.at(-1)?.event === 'final')
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('that the service refuses is sent once, and the page says why', async () => {
    const { page } = await visit(demo, '/')
    const problem = {
      status: 400,
      contentType: 'application/problem+json',
      json: { detail: 'the clock of this device is wrong' },
    }
    await page.route('**/rides', (route) => route.fulfill(problem))
    const requests = requestsOf(page)
    await rideFrom(page, 'Refused', '1×')
    await page.getByText('does not take this ride: the clock of this device is wrong').waitFor()
    await reach(page, 4)
    expect(requests.filter((path) => path === '/rides')).toHaveLength(1)
    expect(await giveUp(page)).not.toContain('count')
    await page.context().close()
  })

  it('waits while something before the service blocks it', async () => {
    const { page } = await visit(demo, '/')
    const blocked = { status: 403, contentType: 'text/html', body: '<h1>403 Forbidden</h1>' }
    await rideFrom(page, 'Blocked', '1×')
    await reach(page, 2)
    await page.route('**/rides', (route) => route.fulfill(blocked))
    await page.getByText(/\d+ seconds? waits? to be sent/).waitFor()
    await page.unroute('**/rides')
    await page.getByText('Your ride is sent to the service and counts.').waitFor()
    expect(await giveUp(page)).toContain('The seconds so far count.')
    await page.locator('[data-test=sent][data-sent=sent]').waitFor()
    await page.context().close()
  })

  it('waits on the device while the network is away, also over a reload', async () => {
    const { page } = await visit(demo, '/')
    await rideFrom(page, 'Offline', '1×')
    await reach(page, 1)
    await page.route('**/rides', (route) => route.abort())
    await page.getByText(/\d+ seconds wait to be sent/).waitFor()
    const sent = sentBy(page)
    page.on('dialog', (dialog) => dialog.accept())
    await page.reload()
    await page.getByRole('button', { name: 'Start the race' }).waitFor()
    // The ride that was given up is shown, with what waits.
    await page.getByText(/, given up at 0:/).waitFor()
    await page.locator('[data-test=sent][data-sent=retrying]').waitFor()
    await until('it is tried again', async () => sent.length > 0)
    await page.unroute('**/rides')
    sent.length = 0
    await page.evaluate(() => dispatchEvent(new Event('online')))
    await until('the end arrives', async () => sent.some(({ event }) => event === 'final'))
    await until('nothing waits', () =>
      page.evaluate(() => !Object.keys(localStorage).some((key) => key.includes('outbox'))),
    )
    const last = sent.at(-1)?.second
    const board = await demo.json<Board>(`/classes/1/leaderboard?second=${last}`)
    expect(board.standings.map(({ name }) => name)).toContain('Offline')
    await page.context().close()
  })
})

describe('a ride that waits in another tab', () => {
  it('says so, and is tried there', async () => {
    const { page } = await visit(demo, '/')
    const other = await page.context().newPage()
    await other.goto(`${demo.origin}/#/explore/1`)
    await rideFrom(page, 'Two tabs', '1×')
    await reach(page, 2)
    await page.context().route('**/rides', (route) => route.abort())
    await page.getByText(/\d+ seconds wait to be sent/).waitFor()
    page.on('dialog', (dialog) => dialog.accept())
    // The other tab takes the ride over meanwhile.
    await page.reload()
    const words = page.locator('[data-test=sent]')
    await page.locator('[data-test=sent][data-sent=onDevice]').waitFor()
    expect(await words.textContent()).toMatch(/seconds wait to be sent. *Another tab/)
    await page.context().unroute('**/rides')
    await other.evaluate(() => dispatchEvent(new Event('online')))
    await page.locator('[data-test=sent][data-sent=sent]').waitFor()
    await page.context().close()
  })
})

describe('a ride of an earlier page', () => {
  it('is sent also where the script that sends it came late', async () => {
    const { page } = await visit(demo, '/healthz')
    let failures = 0
    await page.route('**/outbox-*.js', async (route) => {
      if (failures > 0) return route.continue()
      failures += 1
      await route.fulfill({ status: 503 })
    })
    const raceId = Date.now() - 60_000
    const ride = {
      raceId,
      racerId: 1e12 + 77,
      name: 'Left',
      classId: 1,
      cadence: 80,
      resistance: 40,
    }
    const record = {
      ...ride,
      uuid: randomUUID(),
      event: 'final',
      deviceTimestamp: Date.now(),
      second: 3,
    }
    await page.evaluate(
      ([key, text]) => localStorage.setItem(key!, text!),
      [`alleycat.outbox.${raceId}`, JSON.stringify([record])],
    )
    const sent = sentBy(page)
    await page.goto(`${demo.origin}/#/explore/1`)
    await until('it is sent', async () => sent.some(({ name }) => name === 'Left'))
    expect(failures).toBe(1)
    await page.context().close()
  })
})

describe('a ride whose tab is killed', () => {
  it('is ended by the next page, once, and not while it is ridden', async () => {
    const { page } = await visit(demo, '/')
    const context = page.context()
    await rideFrom(page, 'Killed', '1×')
    await reach(page, 2)
    const other = await context.newPage()
    const early = sentBy(other)
    await other.goto(`${demo.origin}/`)
    await other.getByRole('link', { name: 'To the start' }).waitFor()
    await reach(page, 4)
    await other.close()
    expect(early).toEqual([])

    await kill(page)
    const next = await context.newPage()
    const sent = sentBy(next)
    await next.goto(`${demo.origin}/`)
    await until('the end is sent', async () => sent.at(-1)?.event === 'final')
    const { raceId, second } = sent.at(-1)!
    await until('the race is over, with the rider in it', async () => {
      const races = await demo.json<Race[]>('/classes/1/races')
      const own = races.find((race) => race.raceId === raceId)
      if (!own?.finished || own.lastSecond !== second) return false
      const path = `/classes/1/races/${raceId}/leaderboard`
      const { standings } = await demo.json<Board>(path)
      return standings[0]?.name === 'Killed'
    })
    // The page may still read the response.
    await until('nothing of the ride waits on the device', async () => {
      const keys = await next.evaluate(() => Object.keys(localStorage).join())
      return !/ride\.\d|outbox/.test(keys)
    })
    sent.length = 0
    await next.reload()
    await next.getByRole('link', { name: 'To the start' }).waitFor()
    expect(sent).toEqual([])
    await context.close()
  })
})

describe('classes with names', () => {
  it('are links whose accessible names begin with the number that is shown', async () => {
    const { page, faults } = await visit(demo, '/#/explore/1', { reducedMotion: 'reduce' })
    await page.locator('.board tbody tr').first().waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByRole('link', { name: '2, Hill Repeats' }).click()
    await page.getByRole('heading', { name: 'Hill Repeats' }).waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })
})

describe('here now', () => {
  it('is as the service has it, without a poll', async () => {
    const { page, faults } = await visit(demo, '/#/ride/1')
    await until('here now is as the service says', async () => {
      const races = await demo.json<Race[]>('/classes/1/races')
      const race = races.find((race) => race.racers === 12)
      const board = await demo.json<Board>(`/classes/1/races/${race?.raceId}/leaderboard`)
      const rows = await rowsOf(page, 'here-now')
      const expected = written(board.standings).slice(0, rows.length)
      return rows.length > 0 && JSON.stringify(rows) === JSON.stringify(expected)
    })
    const requests = requestsOf(page)
    const clock = page.locator('section[aria-labelledby="here-now"] .number').first()
    for (let step = 0; step < 5; step++) {
      const before = await clock.textContent()
      await until('the race goes on', async () => (await clock.textContent()) !== before)
    }
    expect(requests.filter((path) => path.includes('/races'))).toEqual([])
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('goes on in a race that is opened on Explore', async () => {
    const { page, faults } = await visit(demo, '/#/explore/1')
    const races = page.locator('section[aria-labelledby="races"]')
    await races.getByRole('button', { name: /12 racers, at/ }).click()
    const rows = async () => JSON.stringify(await rowsOf(page, 'races'))
    await races.locator('.board').waitFor()
    const before = await rows()
    await until('the standings change', async () => (await rows()) !== before)
    await races.locator('[data-test=winner]').first().waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })
})
