// The pages behind the first one. Each is loaded when it is first opened, with the words of all.
import {register} from './router.js';
import {add_words, language} from './words.js';

add_words({
    'nav.sales': {en: 'Sales', zh: '活动'},
    'nav.limits': {en: 'Limits', zh: '限流'},
    'nav.blocklist': {en: 'Blocklist', zh: '黑名单'},
    'nav.routes': {en: 'Routes', zh: '路由'},
    'nav.pools': {en: 'Pools', zh: '池'},
    'nav.endpoints': {en: 'Endpoints', zh: '服务器'},
    'nav.caches': {en: 'Caches', zh: '缓存'},
    'nav.features': {en: 'Features', zh: '功能'},
    'nav.overload': {en: 'Overload', zh: '过载'},
    'nav.plans': {en: 'Plans', zh: '预案'},
    'nav.runs': {en: 'Runs of plans', zh: '预案运行'},
    'nav.overrides': {en: 'Overrides', zh: '临时覆盖'},
    'nav.explain': {en: 'Explain', zh: '解释'},
    'nav.watches': {en: 'Watches', zh: '观察'},
    'nav.audit': {en: 'Audit log', zh: '审计日志'},
    'nav.tokens': {en: 'Tokens', zh: '令牌'},
    'nav.gateways': {en: 'Gateways', zh: '网关'},
    'nav.settings': {en: 'Settings', zh: '配置'},
});

// Written out one by one, so that each import is a name that can be checked.
const PAGES = [
    ['sales', 'documents', 'viewer', () => import('./sales.js')],
    ['limits', 'documents', 'viewer', () => import('./limits.js')],
    ['blocklist', 'documents', 'viewer', () => import('./blocklist.js')],
    ['routes', 'documents', 'viewer', () => import('./routes.js')],
    ['pools', 'documents', 'viewer', () => import('./pools.js')],
    ['caches', 'documents', 'viewer', () => import('./caches.js')],
    ['features', 'documents', 'viewer', () => import('./features.js')],
    ['overload', 'documents', 'viewer', () => import('./overload.js')],
    ['plans', 'desk', 'viewer', () => import('./plans.js')],
    ['runs', 'desk', 'viewer', () => import('./runs.js')],
    ['overrides', 'desk', 'viewer', () => import('./overrides.js')],
    ['explain', 'desk', 'viewer', () => import('./explain.js')],
    ['watches', 'desk', 'viewer', () => import('./watches.js')],
    ['audit', 'desk', 'viewer', () => import('./audit.js')],
    ['tokens', 'system', 'admin', () => import('./tokens.js')],
    ['endpoints', 'system', 'viewer', () => import('./endpoints.js')],
    ['gateways', 'system', 'viewer', () => import('./gateways.js')],
    ['settings', 'system', 'viewer', () => import('./settings.js')],
];

/** The gateway's own words, in the language of the page. */
export async function load_words() {
    if (language() === 'zh')
        await import('./said_zh.js');
}

for (const [path, group, role, load] of PAGES)
    register({path, title: 'nav.' + path, group, role, show: async (root, ctx) => {
        const [page] = await Promise.all([load(), import('./page_words.js'), load_words()]);
        return page.show(root, ctx);
    }});
