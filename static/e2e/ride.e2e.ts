import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'

import {
  asLargeClasses,
  focused,
  giveUp,
  pause,
  RACER,
  reach,
  requestsOf,
  rideAs,
  set,
  settled,
  start,
  type Board,
} from './actions'
import { rowsOf, Service, serviceOfFile, until, visit, written } from './support'

const TOP_OUTPUT = '305.25' // cadence 150 at resistance 100

const service = serviceOfFile({ feed: ['--classes', '1,2', '--racers', '60'] })

/** Answers the questions of the page: stays, until `leaves` is set. `asked` has their types. */
function answers(page: Page): { asked: string[]; leaves: boolean } {
  const answers = { asked: [] as string[], leaves: false }
  page.on('dialog', async (dialog) => {
    answers.asked.push(dialog.type())
    await (answers.leaves ? dialog.accept() : dialog.dismiss())
  })
  return answers
}

describe('riding', () => {
  it('shows rank, trophy and result, and keeps the ride where the service takes none', async () => {
    const { page, faults } = await visit(service, '/')
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
    await page
      .getByRole('heading', { name: 'You would have been first of all time at every second.' })
      .waitFor()
    // Nobody has records to break on a first ride.
    expect(await page.locator('[data-test=firsts]').textContent()).toBe('300')
    expect(await page.locator('[data-test=records]').count()).toBe(0)
    expect(await page.locator('[data-test=best-rank]').textContent()).toBe('1st')
    expect(await page.locator('[data-test=sent]').textContent()).toContain('was not sent')
    await page.locator('.curves canvas').waitFor()
    await page.getByRole('button', { name: 'Ride again' }).waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })

  for (const kind of ['history', 'service'] as const) {
    it(`has the all-time board that the service has, with the ${kind === 'history' ? 'history loaded' : 'service asked each second'}, faster than real time`, async () => {
      const { page, faults } = await visit(service, '/')
      if (kind === 'service') await asLargeClasses(page)
      const requests = requestsOf(page)
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
      expect(requests.includes('/class-1.gz')).toBe(kind === 'history')
      expect(await page.locator('[data-test=as-of]').textContent()).toContain(
        kind === 'history' ? 'As of the ride’s start.' : 'As of when you rode this second.',
      )
      expect(faults).toEqual([])
      await page.context().close()
    })
  }

  describe('while others ride', () => {
    const best = (second: number, output: number) => ({
      classId: 1,
      racerId: 777,
      name: 'Ida',
      second,
      output,
    })
    const seconds = Array.from({ length: 300 }, (_, i) => i + 1)

    it('has their bests on the all-time board, and that of the start while the service is away', async () => {
      const own = await Service.start()
      try {
        await own.deliver(seconds.map((second) => best(second, 1)))
        const { page } = await visit(own, '/')
        // Nothing is pushed.
        await page.route('**/classes/1/live', () => {})
        await page.getByRole('link', { name: 'To the start' }).click()
        const place = page.locator('[data-test=rank]')
        const asOf = page.locator('[data-test=as-of]')
        await start(page, '1×')
        await reach(page, 2)
        expect(await place.textContent()).toBe('1')
        await asOf.getByText('As of when you rode this second.').waitFor()
        await own.deliver(seconds.map((second) => best(second, 400)))
        await place.getByText('2', { exact: true }).waitFor()
        expect((await rowsOf(page, 'all-time'))[0]?.name).toContain('Ida')
        await page.getByText('Class record before this ride: Ida, 1.00').waitFor()
        const rows = await page.locator('section[aria-labelledby="all-time"]').boundingBox()

        await own.kill()
        await asOf.getByText('As of the ride’s start.').waitFor()
        await place.getByText('1', { exact: true }).waitFor()
        expect(await page.locator('section[aria-labelledby="all-time"]').boundingBox()).toEqual(
          rows,
        )
        await pause(page)
        await page.getByRole('button', { name: 'Go on' }).click()
        await own.run()
        await asOf.getByText('As of when you rode this second.').waitFor()
        await place.getByText('2', { exact: true }).waitFor()
        await page.context().close()
      } finally {
        await own.stop()
      }
    })

    it('has the place at the finish as it is by then', async () => {
      const own = await Service.start()
      try {
        await own.deliver(seconds.map((second) => best(second, 1)))
        const { page, faults } = await visit(own, '/#/ride/1')
        await start(page)
        await reach(page, 2)
        await own.deliver([best(300, 400)])
        const place = page.locator('[data-test=final-rank]')
        await place.getByText('2nd').waitFor()
        await page.getByText('of 2, as of now').waitFor()
        expect(faults).toEqual([])
        await page.context().close()
      } finally {
        await own.stop()
      }
    })
  })

  it.each([320, 390, 683])('moves no control at the start, at %i', async (width) => {
    const { page } = await visit(service, '/', { viewport: { width, height: 800 } })
    await page.getByRole('radio', { name: 'Class record', exact: true }).check()
    // The tag has no place beside the name on a narrow screen.
    await rideAs(page, { ...RACER, name: 'Bartholomew', guest: true })
    const tops = () =>
      page.evaluate(() =>
        ['.versus', '.pacer', '#cadence', '[data-test=primary]'].map(
          (part) => document.querySelector(part)!.getBoundingClientRect().top,
        ),
      )
    await page.locator('.pacer').waitFor()
    await page.evaluate(() => document.fonts.ready)
    const before = await tops()
    await page.getByText('20×', { exact: true }).click()
    await page.getByText('Practice', { exact: true }).waitFor()
    expect(await tops()).toEqual(before)
    await set(page, 'Cadence', 'Home')
    await start(page, '1×')
    await page.locator('.pacer [data-side=behind]').waitFor()
    expect(await tops()).toEqual(before)
    await page.context().close()
  })

  it('works by keyboard alone', async () => {
    const { page, faults } = await visit(service, '/')
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

  it('keeps every row in sight at the greatest speed', async () => {
    const { page } = await visit(service, '/')
    await rideAs(page, RACER)
    await start(page)
    await reach(page, 40)
    const seen = await page.evaluate(async () => {
      const opacities: number[] = []
      while (opacities.length < 200) {
        const rows = document.querySelectorAll('section[aria-labelledby="all-time"] tbody tr')
        for (const row of rows) opacities.push(Number(getComputedStyle(row).opacity))
        await new Promise(requestAnimationFrame)
      }
      return opacities
    })
    expect(Math.min(...seen)).toBe(1)
    await page.context().close()
  })

  it('keeps the focus on its primary button', async () => {
    const { page } = await visit(service, '/#/ride/1')
    const primary = page.locator('[data-test=primary]')
    await page.getByRole('button', { name: 'Start the race' }).focus()
    for (const label of ['Pause', 'Go on', 'Pause']) {
      await page.keyboard.press('Space')
      await primary.getByText(label).waitFor()
      expect(await focused(page)).toBe(label)
    }
    const end = page.getByRole('button', { name: 'Give up' })
    page.once('dialog', (dialog) => dialog.dismiss())
    await end.focus()
    await page.keyboard.press('Enter')
    expect(await focused(page)).toBe('Give up')
    page.once('dialog', (dialog) => dialog.accept())
    await page.keyboard.press('Enter')
    await primary.getByText('Start the race').waitFor()
    expect(await focused(page)).toBe('Start the race')
    await page.context().close()
  })

  it('opens at its top, and Back returns to where the start line was', async () => {
    const { page } = await visit(service, '/', { viewport: { width: 320, height: 568 } })
    await page.getByText('Class record', { exact: true }).waitFor()
    await page.getByRole('radio', { name: /Class 2/ }).waitFor()
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight))
    const scrolled = () => page.evaluate(() => scrollY)
    expect(await scrolled()).toBeGreaterThan(0)
    await page.getByRole('link', { name: 'To the start' }).click()
    await page.getByRole('heading', { name: /Class 1 as/ }).waitFor()
    await until('the ride is shown from its top', async () => (await scrolled()) === 0)
    await page.goBack()
    await page.getByRole('link', { name: 'To the start' }).waitFor()
    await until('the start line is where it was', async () => (await scrolled()) > 0)
    await page.context().close()
  })

  it('of another view, Back returns to where Explore was, whose data come after it', async () => {
    const { page } = await visit(service, '/#/explore/1', { viewport: { width: 390, height: 800 } })
    const races = page.locator('section[aria-labelledby="races"] li')
    await races.first().waitFor()
    await page.locator('.curves canvas').waitFor()
    await page.evaluate(() => scrollTo(0, 1200))
    await page.getByRole('link', { name: 'Start line', exact: true }).evaluate((link) => {
      ;(link as HTMLElement).click() // without scrolling to it
    })
    await page.getByRole('link', { name: 'To the start' }).waitFor()
    // Its data come late.
    await page.route('**/classes/1/**', async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 300))
      await route.continue()
    })
    await page.goBack()
    await races.first().waitFor()
    await page.locator('.curves canvas').waitFor()
    const scrolled = () => page.evaluate(() => scrollY)
    await until('Explore is where it was', async () => (await scrolled()) === 1200)
    expect(await scrolled()).toBe(1200)
    await page.context().close()
  })

  it('asks before a ride is lost, by a link, by Back and by a reload', async () => {
    const { page } = await visit(service, '/')
    await page.getByRole('link', { name: 'To the start' }).click()
    await start(page, '1×')
    await reach(page, 1)
    const answer = answers(page)
    const answered = (count: number) =>
      until(`asked ${count} times`, async () => answer.asked.length === count)
    await page.getByRole('link', { name: 'Explore this class' }).click()
    await answered(1)
    await page.evaluate(() => history.back())
    await answered(2)
    await page.reload({ timeout: 1000 }).catch(() => {}) // dismissed
    await answered(3)
    expect(answer.asked).toEqual(['confirm', 'confirm', 'beforeunload'])
    // The ride goes on.
    await page.getByRole('button', { name: 'Pause' }).waitFor()
    const itsAddress = /#\/ride\/1\?ride=\d+$/
    expect(page.url()).toMatch(itsAddress)
    // A link to the view that is shown adds no entry to the history. Back would leave that one without a question.
    const steps = () => page.evaluate(() => history.length)
    const before = await steps()
    await page.getByRole('link', { name: 'Ride', exact: true }).click()
    expect(await steps()).toBe(before)
    expect(page.url()).toMatch(itsAddress)
    await page.evaluate(() => history.back())
    await answered(4)
    expect(await page.title()).toBe('Class 1 · Ride · Alleycat')
    answer.leaves = true
    await page.getByRole('link', { name: 'Explore this class' }).click()
    await page.getByRole('heading', { name: 'Curves side by side' }).waitFor()
    await page.context().close()
  })

  it('does not begin once another view was chosen, whose script is still loading', async () => {
    const { page } = await visit(service, '/healthz')
    const hold = async (path: string) => {
      let release = () => {}
      const released = new Promise<void>((resolve) => (release = resolve))
      await page.route(path, async (route) => {
        await released
        await route.continue()
      })
      return release
    }
    const [releaseView, releaseHistory] = [await hold('**/ExploreView-*.js'), await hold('**/*.gz')]
    await page.goto(`${service.origin}/#/ride/1`)
    await page.getByRole('button', { name: 'Start the race' }).click()
    await page.getByRole('button', { name: /Loading/ }).waitFor()
    await page.getByRole('link', { name: 'Explore this class' }).click()
    const arrived = page.waitForEvent('requestfinished', (request) => /gz$/.test(request.url()))
    releaseHistory()
    await arrived
    releaseView()
    await page.getByRole('heading', { name: 'Curves side by side' }).waitFor()
    expect(page.url()).toContain('#/explore/1')
    await page.context().close()
  })

  it('rides no second while the browser asks whether to leave', async () => {
    const { page } = await visit(service, '/#/ride/1')
    await start(page, '20×')
    await reach(page, 1)
    const seconds = async () => {
      const [minute = NaN, second = NaN] = (await page.getByRole('timer').innerText())
        .split(':')
        .map(Number)
      return minute * 60 + second
    }
    const before = await seconds()
    // The question stops the scripts of the page, as this loop does: for 5 s, which are 100 s of the race.
    await page.evaluate(() => {
      dispatchEvent(new Event('beforeunload', { cancelable: true }))
      const end = performance.now() + 5000
      while (performance.now() < end);
    })
    expect((await seconds()) - before).toBeLessThan(100)
    await reach(page, 2)
    await page.context().close()
  })

  it('asks where its address was typed, and Back that is refused changes nothing', async () => {
    const { page } = await visit(service, '/')
    await page.getByRole('link', { name: 'To the start' }).waitFor()
    await page.evaluate(() => (location.hash = '#/ride/1'))
    await start(page, '1×')
    await reach(page, 1)
    const refused = page.waitForEvent('dialog')
    await page.evaluate(() => history.back())
    const dialog = await refused
    expect(dialog.message()).toContain('You are riding.')
    await dialog.dismiss()
    await until('the ride has its address', async () => page.url().includes('#/ride/1?ride='))
    await giveUp(page)
    await page.evaluate(() => history.back())
    await page.getByRole('link', { name: 'To the start' }).waitFor()
    await page.context().close()
  })

  it.each([
    ['#/explore/2', '#/explore/2'],
    ['#/explore/2/30', '#/explore/2?second=30'],
  ])('asks once where %s is typed, which is opened at %s', async (typed, opened) => {
    const { page } = await visit(service, '/#/ride/1')
    await start(page, '1×')
    await reach(page, 1)
    const answer = answers(page)
    const type = () => page.evaluate((address) => void (location.hash = address), typed)
    for (const count of [1, 2]) {
      await type()
      await until('it is asked', async () => answer.asked.length >= count)
      await until('the ride has its address', async () => page.url().includes('#/ride/1?ride='))
    }
    // Back is one step, as before.
    const back = page.waitForEvent('dialog')
    await page.evaluate(() => history.back())
    await back
    await until('the ride has its address', async () => page.url().includes('#/ride/1?ride='))
    await reach(page, 2)
    answer.leaves = true
    await type()
    await until('it is opened', async () => page.url().endsWith(`/${opened}`))
    await page.waitForFunction(() => !document.querySelector('[data-test=primary]'))
    expect(page.url()).toMatch(new RegExp(`/${opened.replace('?', '\\?')}$`))
    expect(answer.asked).toHaveLength(4)
    await page.context().close()
  })

  it('shows the result again after a reload, and among the own rides', async () => {
    const { page, faults } = await visit(service, '/')
    await rideAs(page, RACER)
    await start(page)
    const result = page.locator('section[aria-labelledby="result"]')
    await result.waitFor()
    // The places and the names come after the result.
    const place = page.locator('[data-test=finish]').getByText(/\d/)
    await place.waitFor()
    await result.getByText('as of now').waitFor()
    const before = await result.innerText()
    await page.reload()
    await until('the same is shown', async () => (await result.innerText()) === before)
    await page.getByRole('link', { name: 'Start line', exact: true }).click()
    const own = page.locator('section[aria-labelledby="own-rides"]')
    expect(await own.innerText()).toMatch(/as Kofi, average .*, practice/)
    await page.getByRole('button', { name: 'Be a new racer' }).click()
    await own.getByRole('link').click()
    await result.waitFor()
    // The start begins a ride of another rider, which is not practice.
    await page.getByRole('heading', { name: /as Guest/ }).waitFor()
    expect(await page.getByText('Practice', { exact: true }).isVisible()).toBe(false)
    // It is a ride of its class only.
    await page.evaluate(() => (location.hash = location.hash.replace('ride/1', 'ride/2')))
    await page.getByText('This device has not kept that ride').waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  })

  it('has one rider in all tabs, and a ride keeps its own', async () => {
    const { page } = await visit(service, '/#/ride/1')
    await start(page, '1×')
    await reach(page, 1)
    const other = await page.context().newPage()
    await other.goto(`${service.origin}/`)
    await other.getByLabel('Your name on the boards').fill('Zoë')
    // A new name changes the ride under way. Another rider rides only the next one.
    await page.getByRole('heading', { name: /as Zoë/ }).waitFor()
    await other.reload()
    expect(await other.getByLabel('Your name on the boards').inputValue()).toBe('Zoë')
    await rideAs(other, RACER)
    await page.bringToFront()
    // By then the other tab's choice has arrived.
    await reach(page, 5)
    await page.getByRole('heading', { name: /as Zoë/ }).waitFor()
    await giveUp(page)
    await page.getByRole('button', { name: 'Start the race' }).click()
    await page.getByRole('heading', { name: /as Kofi/ }).waitFor()
    await page.context().close()
  })

  it('rides as nobody whom the service does not know', async () => {
    const { page, faults } = await visit(service, '/')
    const search = page.getByRole('combobox', { name: 'Or ride as' })
    await search.fill('17')
    const option = page.getByRole('option', { name: /17$/ })
    await option.waitFor()
    const name = ((await option.textContent()) ?? '').replace(/17$/, '').trim()
    expect(name).not.toMatch(/^Racer|^$/)
    await search.press('Enter')
    await page.getByText('Racer 17, whose bests are the ones to beat').waitFor()
    expect(await page.locator('.number-plate').textContent()).toContain(name)
    await search.fill('999999')
    await page.getByText('Nobody has ridden as number 999999.').waitFor()
    await search.press('Enter')
    await page.getByText('Racer 17, whose bests are the ones to beat').waitFor()
    // As a page before this one may have stored it.
    await rideAs(page, { racerId: 999_999, name: 'Racer 999999', guest: false })
    await page.getByRole('link', { name: 'Start line', exact: true }).click()
    await page.getByText('Racer 999999. Nobody has ridden under this number yet').waitFor()
    // The message of a choice, by pointer as well, goes once the rider is another one.
    await search.fill('17')
    await option.click()
    await page.getByText('is chosen.').waitFor()
    await page.getByRole('button', { name: 'Be a new racer' }).click()
    await page.getByLabel('Your name on the boards').waitFor()
    expect(await page.getByText('is chosen.').count()).toBe(0)
    expect(faults.filter((fault) => !fault.includes('404'))).toEqual([])
    await page.context().close()
  })
})
