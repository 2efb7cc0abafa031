import '@fontsource-variable/archivo/wdth.css'
import './style.css'

import { createApp } from 'vue'

import App from './App.vue'

createApp(App).mount('#app')
