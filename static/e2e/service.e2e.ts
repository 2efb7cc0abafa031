import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

import type { Page, Request } from 'playwright-core'
import { describe, expect, it } from 'vitest'

import {
  allLoaded,
  asLargeClasses,
  fits,
  focused,
  RACER,
  reach,
  rideAs,
  set,
  start,
  violations,
} from './actions'
import { rowsOf, Service, serviceOfFile, until, visit } from './support'

const service = serviceOfFile({ feed: ['--classes', '1,2', '--racers', '60'] })

describe('a service that is read with a key', () => {
  it('is opened with it, for as long as the tab is', async () => {
    const own = await Service.start('--query-key', 'open sesame')
    try {
      await own.feed('--classes', '1', '--racers', '20', '--seconds', '30')
      const { page, faults } = await visit(own, '/#/explore/1')
      const asks = page.getByRole('heading', { name: 'A key, please' })
      await asks.waitFor()
      expect(await violations(page)).toEqual([])
      await page.getByLabel('Key for reading').fill('open barley')
      await page.getByRole('button', { name: 'Open' }).click()
      await page.getByRole('alert').getByText('does not take this key').waitFor()
      await page.getByLabel('Key for reading').fill('open sesame')
      await page.keyboard.press('Enter')
      await asks.waitFor({ state: 'detached' })
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('main')
      const row = page.locator('section[aria-labelledby="board"] .board tbody tr')
      await page.getByRole('slider', { name: 'Second of the race' }).fill('20')
      await row.first().waitFor()
      expect(await asks.count()).toBe(0)
      // The event stream requires the key, too.
      let output = 300
      await until('a record is shown', async () => {
        await own.deliver([
          { classId: 1, second: 20, racerId: 5, name: 'Kofi', output: (output += 0.25) },
        ])
        return (await page.getByText(/New class record at 0:20: .*Kofi/).count()) > 0
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
      // Forgetting the key removes what was read with it, and ends the event stream.
      const isStream = (request: Request) => request.url().endsWith('/live')
      const ended = page.waitForEvent('requestfailed', isStream)
      expect(await row.count()).toBeGreaterThan(0)
      await page.setViewportSize({ width: 390, height: 800 })
      await page.getByRole('button', { name: 'Forget the key' }).click()
      await asks.waitFor()
      await ended
      expect(await row.count()).toBe(0)
      // On a narrow screen, too, it is in sight, wherever the page was scrolled to.
      const { y, height } = (await page.locator('.key').boundingBox())!
      expect(y >= 0 && y + height <= 800).toBe(true)
      await page.getByLabel('Key for reading').fill('open sesame')
      await page.keyboard.press('Enter')
      await page.getByRole('heading', { name: 'Pick a class' }).waitFor()
      expect(faults.filter((fault) => !fault.includes('401'))).toEqual([])
      await page.context().close()
    } finally {
      await own.stop()
    }
  })
})

it.each([
  [320, 568],
  [1280, 900],
])('asks for a changed key over a ride, and moves nothing, at %i by %i', async (width, height) => {
  const { page } = await visit(service, '/#/ride/1', { viewport: { width, height } })
  await start(page, '1×')
  await boardOfRide(page)
  await page.getByRole('button', { name: 'Pause' }).focus()
  const tops = () =>
    page.evaluate(() =>
      ['.head-unit', '[data-test=primary]', '.foot'].map(
        (part) => document.querySelector(part)!.getBoundingClientRect().top,
      ),
    )
  const before = await tops()
  await page.route('**/classes', async (route) => {
    const isOpen = (await route.request().headerValue('authorization')) === 'Bearer new'
    const locked = { status: 401, contentType: 'application/problem+json', json: {} }
    await (isOpen ? route.continue() : route.fulfill(locked))
  })
  const key = page.getByLabel('Key for reading')
  await key.waitFor()
  expect(await tops()).toEqual(before)
  expect(await focused(page)).toBe('Pause')
  expect(await violations(page)).toEqual([])
  expect(await controlsUnder(page, '.key')).toBe(0)
  await key.fill('new')
  await page.keyboard.press('Enter')
  await key.waitFor({ state: 'detached' })
  expect(await focused(page)).toBe('Pause')
  // To forget it ends the ride, and so it asks.
  const forget = page.getByRole('button', { name: 'Forget the key' })
  const kept = () => page.evaluate(() => sessionStorage.getItem('alleycat.key'))
  page.once('dialog', (dialog) => dialog.dismiss())
  await forget.click()
  await page.getByRole('button', { name: 'Pause' }).waitFor()
  expect(await kept()).toBe('new')
  page.once('dialog', (dialog) => dialog.accept())
  await forget.click()
  await key.waitFor()
  expect(await kept()).toBeNull()
  await page.context().close()
})

/** Waits until the all-time board of a ride is shown: it may be the tallest panel. */
async function boardOfRide(page: Page): Promise<void> {
  await page.locator('[data-test=as-of]').waitFor()
}

/** Returns how many controls of the head unit an element covers. */
function controlsUnder(page: Page, over: string): Promise<number> {
  return page.evaluate((over) => {
    const { top, bottom } = document.querySelector(over)!.getBoundingClientRect()
    const controls = [...document.querySelectorAll('.controls :is(input, button)')]
    return controls.filter((control) => {
      const box = control.getBoundingClientRect()
      return box.top < bottom && box.bottom > top
    }).length
  }, over)
}

describe('the page', () => {
  it('says when a class is empty', async () => {
    const { page, faults } = await visit(service, '/#/ride/3')
    await page.getByText('Nobody rode here yet.', { exact: true }).waitFor()
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
      const { page } = await visit(own, '/#/explore/1')
      await page.locator('.board tbody tr').first().waitFor()
      await allLoaded(page)
      await own.kill()
      await page.getByText('The service is away.').waitFor()
      expect((await rowsOf(page, 'board')).length).toBe(8)
      await page.getByRole('link', { name: 'Start line', exact: true }).click()
      await page.getByRole('link', { name: 'To the start' }).click()
      const primary = page.getByRole('button', { name: 'Start the race' })
      expect(await primary.getAttribute('aria-disabled')).toBe('true')
      await own.run()
      await page.getByText('The service is back.').waitFor()
      // It stands over the page, and moves nothing. The head of the page stays free.
      const place = (element: Element) =>
        [
          getComputedStyle(element).position,
          element.getBoundingClientRect().top > innerHeight / 2,
        ] as const
      expect(await page.locator('.notice').evaluate(place)).toEqual(['fixed', true])
      await start(page)
      await reach(page, 3)
      await page.context().close()
    } finally {
      await own.stop()
    }
  })

  it('says when a part of the page cannot be loaded, and loads it again', async () => {
    const { page } = await visit(service, '/')
    await page.route('**/ExploreView-*.js', (route) => route.abort())
    await page.reload()
    await page.getByRole('link', { name: 'Explore the class' }).click()
    const again = page.getByRole('button', { name: 'Load it again' })
    await again.waitFor()
    await page.unroute('**/ExploreView-*.js')
    await again.click()
    await page.getByRole('heading', { name: 'Curves side by side' }).waitFor()
    expect(await again.count()).toBe(0)
    await page.context().close()
  })

  it('says when the search for a racer cannot be loaded, and loads it again', async () => {
    const { page } = await visit(service, '/')
    await page.route('**/RacerSearch-*.js', (route) => route.abort())
    await page.reload()
    const again = page.getByRole('button', { name: 'Load it again' })
    await again.waitFor()
    await page.unroute('**/RacerSearch-*.js')
    await again.click()
    await page.getByRole('combobox', { name: 'Or ride as' }).waitFor()
    expect(await again.count()).toBe(0)
    await page.context().close()
  })

  it('loads again what is shown, where a part of it could not be loaded', async () => {
    const { page } = await visit(service, '/')
    await page.route('**/Curves-*.js', (route) => route.abort())
    await page.goto(`${service.origin}/healthz`)
    await page.goto(`${service.origin}/#/explore/1`)
    const again = page.getByRole('button', { name: 'Load it again' })
    await again.waitFor()
    await page.getByRole('slider', { name: 'Second of the race' }).fill('70')
    await page.waitForURL(/second=70/)
    await page.unroute('**/Curves-*.js')
    await again.click()
    await page.locator('.curves canvas').waitFor()
    expect(page.url()).toContain('second=70')
    await page.context().close()
  })

  it.each([
    [320, 568],
    [1280, 900],
  ])('moves nothing of a ride when the service goes away, at %i by %i', async (width, height) => {
    const own = await Service.start()
    try {
      await own.feed('--classes', '1', '--racers', '8', '--seconds', '60')
      const { page } = await visit(own, '/#/ride/1', { viewport: { width, height } })
      await start(page, '1×')
      await boardOfRide(page)
      const tops = () =>
        page.evaluate(() =>
          ['.head-unit', '[data-test=primary]', '.foot'].map(
            (part) => document.querySelector(part)!.getBoundingClientRect().top,
          ),
        )
      const before = await tops()
      await own.kill()
      await page.locator('[role=status]').getByText('The service is away.').waitFor()
      expect(await tops()).toEqual(before)
      // It covers no control of the head unit.
      expect(await controlsUnder(page, '.notice')).toBe(0)
      expect(await violations(page)).toEqual([])
      await page.context().close()
    } finally {
      await own.stop()
    }
  })

  it('moves nothing of a ride when a board cannot be loaded', async () => {
    const { page } = await visit(service, '/', { viewport: { width: 390, height: 800 } })
    await asLargeClasses(page)
    await rideAs(page, RACER)
    await start(page, '1×')
    await reach(page, 2)
    const height = () =>
      page.locator('.head-unit').evaluate((unit) => unit.getBoundingClientRect().height)
    const before = await height()
    await page.route('**/leaderboard**', (route) => route.abort())
    await page.getByRole('alert').getByText('The service does not respond.').waitFor()
    expect(await height()).toBe(before)
    await page.context().close()
  })

  it('goes on riding while the service is away', async () => {
    const own = await Service.start()
    try {
      await own.feed('--classes', '1', '--racers', '8', '--seconds', '300')
      const { page } = await visit(own, '/#/ride/1')
      await start(page)
      await reach(page, 2)
      await own.kill()
      await page.getByRole('button', { name: 'Ride again' }).waitFor()
      expect(await page.locator('[data-test=firsts]').textContent()).toBe('300')
      await page.context().close()
    } finally {
      await own.stop()
    }
  })

  it('fits every size, without a violation that axe-core finds, in both schemes', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const width of [320, 390, 683, 1366]) {
        const options = {
          colorScheme,
          reducedMotion: 'reduce',
          viewport: { width, height: 800 },
        } as const
        const { page, faults } = await visit(service, '/', options)
        const check = async (what: string) => {
          expect(await violations(page), `${what}, ${colorScheme}, ${width}`).toEqual([])
          expect(await fits(page), `${what}, ${width}`).toBe(true)
        }
        await page
          .getByText(/class record, /)
          .first()
          .waitFor()
        await page.getByRole('combobox', { name: 'Or ride as' }).waitFor()
        await check('start line')
        await page.getByRole('combobox', { name: 'Or ride as' }).fill('a')
        await page.getByRole('option', { name: /\d$/ }).first().waitFor()
        await check('search')
        await page.getByRole('radio', { name: 'Median' }).check()
        await check('start line with a pacer')
        await page.evaluate(() => (location.hash = '#/explore/1'))
        await page.locator('.board tbody tr').first().waitFor()
        await page.locator('.curves canvas').waitFor()
        await check('explore')
        await page.getByRole('radio', { name: 'Finishes' }).check()
        await page.locator('.board tbody a').first().waitFor()
        await page.getByRole('button', { name: /60 racers, finished/ }).click()
        await page.locator('section[aria-labelledby="races"] .board').waitFor()
        await check('finishes and races')
        await page.evaluate(() => (location.hash = '#/ride/1'))
        await page.getByRole('combobox', { name: 'Add a rival' }).fill('hube')
        await page.getByRole('option', { name: /^Hubert 1$/ }).click()
        await page.locator('section[aria-labelledby="rivals"] .board').waitFor()
        await page.getByText('Ride for me').click()
        await start(page)
        await reach(page, 20)
        await check('ride')
        await page.getByRole('button', { name: 'Ride again' }).waitFor()
        await page.locator('.curves canvas').waitFor()
        await check('result')
        expect(faults).toEqual([])
        await page.context().close()
      }
    }
  }, 300_000)

  it.each(['reduce', 'no-preference'] as const)(
    'draws curves in the colours of their legend, with reduced motion: %s',
    async (reducedMotion) => {
      const { page } = await visit(service, '/#/explore/1?racers=1,2', { reducedMotion })
      await page.locator('.curves canvas').waitFor()
      await page
        .getByRole('button', { name: /^Remove / })
        .nth(1)
        .waitFor()
      const drawn = () =>
        page.evaluate(() => {
          const canvas = document.querySelector<HTMLCanvasElement>('.curves canvas')
          const pixels = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height)
          // The class record's line is too thin to have pixels of its colour alone.
          const lines = [...document.querySelectorAll('.legend line')].slice(1)
          return lines.map((line) => {
            const color = getComputedStyle(line).stroke.match(/\d+/g)?.map(Number) ?? []
            let count = 0
            for (let at = 0; at < (pixels?.data.length ?? 0); at += 4)
              if (color.every((part, i) => Math.abs(part - (pixels?.data[at + i] ?? -99)) < 24))
                count += 1
            return count > 50
          })
        })
      const isDrawn = async () => (await drawn()).join() === 'true,true'
      await until('both curves are drawn', isDrawn).catch(() => {})
      expect(await drawn()).toEqual([true, true])
      await page.context().close()
    },
  )

  it('keeps long readings inside the head unit', async () => {
    const { page } = await visit(service, '/')
    await page.getByRole('radio', { name: 'Median' }).check()
    await rideAs(page, RACER)
    await set(page, 'Cadence', 'End')
    await set(page, 'Resistance', 'End')
    await start(page, '1×')
    await reach(page, 2)
    await page.getByRole('button', { name: 'Pause' }).click()
    await page.getByText(/Record \+\d\d+\.\d\d/).waitFor()
    const letters = await page.context().newCDPSession(page)
    const sizes = [320, 360, 390, 683, 701, 1000, 1081, 1280, 1366].map((width) => ({
      width,
      letter: 16,
    }))
    // The letters that the settings of a browser call very large.
    const large = [320, 390, 683, 1366].map((width) => ({ width, letter: 24 }))
    for (const { width, letter } of [...sizes, ...large]) {
      await letters.send('Page.setFontSizes', { fontSizes: { standard: letter } })
      await page.setViewportSize({ width, height: 800 })
      const beyond = await page.locator('.head-unit').evaluate((unit) => {
        const { right } = unit.getBoundingClientRect()
        const edge = right - parseFloat(getComputedStyle(unit).paddingRight) + 0.5
        const inside = [...unit.querySelectorAll('dd, dd *, button, label, output, .clock')]
        const leaving = inside.filter((element) => element.getBoundingClientRect().right > edge)
        return leaving.map((element) => element.outerHTML)
      })
      expect(beyond, `at ${width}, letters of ${letter}`).toEqual([])
      expect(await fits(page), `at ${width}, letters of ${letter}`).toBe(true)
    }
    await page.context().close()
  })

  it.each([320, 600, 683, 720])(
    'has name and state above the nav and the colours, however short the state is, at %i',
    async (width) => {
      const { page } = await visit(service, '/', { viewport: { width, height: 768 } })
      await page
        .getByText(/class record, /)
        .first()
        .waitFor()
      const middles = await page.evaluate(() => {
        document.querySelector('.state')!.lastChild!.textContent = 'Away'
        return ['.mark', '.state', 'nav', '.theme'].map((part) => {
          const { top, bottom } = document.querySelector(`header ${part}`)!.getBoundingClientRect()
          return (top + bottom) / 2
        })
      })
      const [mark = NaN, state = NaN, nav = NaN, colours = NaN] = middles
      expect(Math.abs(mark - state)).toBeLessThan(10)
      expect(Math.abs(nav - colours)).toBeLessThan(10)
      expect(nav - mark).toBeGreaterThan(20)
      await page.context().close()
    },
  )

  it('shows what has the focus beside the bars that stick to an edge', async () => {
    const { page } = await visit(service, '/', { viewport: { width: 320, height: 568 } })
    /** Presses a key until the last field has the focus, and returns what a bar covered. */
    const coveredBy = async (bar: string, key: string, end: string) => {
      const covered: string[] = []
      let at = ''
      for (let pressed = 0; at !== end && pressed < 100; pressed++) {
        await page.keyboard.press(key)
        const [id, isCovered] = await page.evaluate((bar) => {
          const element = document.activeElement!
          const { bottom, top } = element.getBoundingClientRect()
          const sticking = document.querySelector(bar)!
          const edge = sticking.getBoundingClientRect()
          const isCovered = !sticking.contains(element) && top < edge.bottom && bottom > edge.top
          return [element.id || element.textContent.trim(), isCovered] as const
        }, bar)
        if (isCovered) covered.push(id)
        at = id
      }
      expect(at).toBe(end)
      return covered
    }
    await page.getByRole('combobox', { name: 'Or ride as' }).waitFor()
    expect(await coveredBy('.go', 'Tab', 'Explore the class')).toEqual([])
    await page.getByRole('link', { name: 'Explore the class' }).click()
    await page.locator('.board tbody tr').first().waitFor()
    await page.getByRole('button', { name: /60 racers, finished/ }).waitFor()
    await page.getByRole('link', { name: 'The API' }).focus()
    expect(await coveredBy('section[aria-labelledby="scrub"]', 'Shift+Tab', 'second')).toEqual([])
    await page.context().close()
  })

  it.each([
    [360, 740],
    [320, 568],
  ])('shows ride and rank at once on a phone of %i by %i', async (width, height) => {
    const options = { viewport: { width, height }, hasTouch: true, isMobile: true }
    const { page } = await visit(service, '/', options)
    await page.getByText('Class record', { exact: true }).tap()
    await page.getByRole('link', { name: 'To the start' }).tap()
    await page.getByText('Ride for me').tap()
    await start(page)
    await reach(page, 10)
    const bottom = await page
      .locator('.controls')
      .evaluate((controls) => controls.getBoundingClientRect().bottom + scrollY)
    expect(bottom).toBeLessThan(height)
    await page.context().close()
  })

  it('points to the API where there is no JavaScript', async () => {
    const { page } = await visit(service, '/', { javaScriptEnabled: false })
    await page.getByRole('heading', { name: 'Alleycat' }).waitFor()
    const links = await page
      .getByRole('link')
      .evaluateAll((all) => all.map((link) => link.getAttribute('href')))
    for (const path of links) {
      const { status } = await fetch(new URL(path ?? '', service.origin))
      expect(status, path ?? '').toBe(200)
    }
    expect(links).toContain('docs/')
    await page.context().close()
  })

  it('loads less than 50 kB of script before a view, and less than 200 kB in all', async () => {
    const folder = join(import.meta.dirname, '../dist')
    const sizeOf = async (paths: string[]) => {
      const files = paths.map((path) => readFile(join(folder, path)))
      return (await Promise.all(files)).reduce(
        (size, file) => size + gzipSync(file, { level: 9 }).length,
        0,
      )
    }
    const html = await readFile(join(folder, 'index.html'), 'utf8')
    const first = [...html.matchAll(/"\.\/(assets\/[^"]+\.js)"/g)].map(([, path]) => path ?? '')
    expect(first.length).toBeGreaterThan(0)
    expect(await sizeOf(first)).toBeLessThan(50_000)
    const files = await readdir(folder, { recursive: true })
    const all = files.filter((path) => /\.(js|css)$/.test(path))
    expect(all.length).toBeGreaterThan(first.length)
    expect(await sizeOf(all)).toBeLessThan(200_000)
  })
})

it('what is chosen stands out in forced colours', async () => {
  const { page } = await visit(service, '/#/ride/1')
  await page.emulateMedia({ forcedColors: 'active' })
  const speeds = page.locator('.segments label')
  await speeds.first().waitFor()
  const areHighlighted = await speeds.evaluateAll((labels) => {
    const sample = document.body.appendChild(document.createElement('p'))
    sample.style.cssText = 'forced-color-adjust: none; background: Highlight'
    const highlight = getComputedStyle(sample).backgroundColor
    return labels.map((label) => getComputedStyle(label).backgroundColor === highlight)
  })
  expect(areHighlighted).toEqual([true, false, false])
  await page.context().close()
})
