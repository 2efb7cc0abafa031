import '@fontsource-variable/archivo/wdth.css'
import './styles/tokens.css'
import './styles/base.css'

import { createApp } from 'vue'

import App from './App.vue'
import { preloadViews, router } from './router'
import { ridesOpen } from './state/service'

// Rides that an earlier page left are sent, whichever view is shown.
if (ridesOpen) void import('./state/outbox').then(({ startOutbox }) => startOutbox())
createApp(App).use(router).mount('#app')
void router.isReady().then(preloadViews, () => {})
