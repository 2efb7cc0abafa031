import '@fontsource-variable/archivo/wdth.css'
import './styles/tokens.css'
import './styles/base.css'

import { createApp } from 'vue'

import App from './App.vue'
import { partLoaders } from './components/lazy'
import { useRetry } from './composables/useLoad'
import { router, viewLoaders } from './router'

const setRetry = useRetry(sendLeft)

/** Sends the rides that an earlier page left, or says what waits, whichever view is shown. */
async function sendLeft(): Promise<void> {
  try {
    const { startOutbox } = await import('./state/outbox')
    startOutbox()
  } catch {
    // The script could not be loaded.
    setRetry(true)
  }
}

/** Loads all scripts, so that they are there when the service is away. */
async function preload(): Promise<void> {
  // A script that fails is loaded again when its part is first shown.
  for (const load of [...viewLoaders, ...partLoaders]) await load().catch(() => {})
}

void sendLeft()
createApp(App).use(router).mount('#app')
void router.isReady().then(preload, () => {})
