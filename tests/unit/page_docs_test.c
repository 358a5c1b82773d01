/* Documents of pools, routes and caches as operators write them: their defaults, and every fault at
 * its pointer. */
#include "tests/unit/check.h"

#include "gateway/config/kinds/cache_doc.h"
#include "gateway/config/kinds/pool_doc.h"
#include "gateway/config/kinds/route_doc.h"

#define NOW INT64_C(1900000000000)

static struct ps_faults faults;

static const struct cfg_bounds *bounds; /* of the gateway whose operator writes; NULL: stored */

/* The document that reading this text gives; NULL: `faults` says why not. */
static struct cfg_doc *read_doc(const struct cfg_kind *kind, const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    const struct cfg_doc_parts parts = {.kind = kind,
                                        .name = "product",
                                        .version = 1,
                                        .by = {0, "t", "", "put", ""},
                                        .json = json,
                                        .reading = {"", NOW, bounds}};
    struct cfg_doc *doc = NULL;

    faults = (struct ps_faults){0};
    if (json == NULL)
        fail_msg("no JSON: %s", text);
    (void)!cfg_doc_new(&parts, &doc, &faults);
    json_decref(json);
    return doc;
}

static void assert_is(const struct cfg_kind *kind, const char *text, const char *expected)
{
    struct cfg_doc *doc = read_doc(kind, text), *again;

    if (doc == NULL)
        fail_msg("%s: \"%s\" %s", text, faults.at[0].path, faults.at[0].text);
    if (expected != NULL)
        assert_string_equal(doc->json, expected);
    again = read_doc(kind, doc->json);
    assert_non_null(again);
    assert_string_equal(again->json, doc->json);
    cfg_doc_free(again);
    cfg_doc_free(doc);
}

/* Exactly the faults at these pointers, in any order; up to four. */
static void assert_faults(const struct cfg_kind *kind, const char *text,
                          const char *const pointers[4])
{
    struct cfg_doc *doc = read_doc(kind, text);
    size_t count = 0;

    for (; count < 4 && pointers[count] != NULL; count++) {
        size_t i = 0;
        while (i < faults.count && strcmp(faults.at[i].path, pointers[count]) != 0)
            i++;
        if (i == faults.count)
            fail_msg("%s: no fault at \"%s\"; the first of %zu at \"%s\": %s", text,
                     pointers[count], faults.count, faults.at[0].path, faults.at[0].text);
    }
    if (doc != NULL || faults.count != count)
        fail_msg("%s: %zu faults, the last at \"%s\": %s", text, faults.count,
                 faults.count > 0 ? faults.at[faults.count - 1].path : "",
                 faults.count > 0 ? faults.at[faults.count - 1].text : "");
}

struct fault_row {
    const char *text;
    const char *pointers[4];
};

/* `'` stands for `"` in the tables, and `@` for what makes the rest of the document whole. */
static void assert_rows(const struct cfg_kind *kind, const struct fault_row *rows, size_t count,
                        const char *rest)
{
    for (size_t i = 0; i < count; i++) {
        char text[2048];
        size_t len = 0;
        for (const char *at = rows[i].text; *at != '\0'; at++) {
            if (*at == '@')
                len += (size_t)snprintf(text + len, sizeof text - len, "%s", rest);
            else
                text[len++] = *at == '\'' ? '"' : *at;
            assert_true(len < sizeof text);
        }
        text[len] = '\0';
        for (char *at = text; *at != '\0'; at++)
            *at = *at == '\'' ? '"' : *at;
        assert_faults(kind, text, rows[i].pointers);
    }
}

/* --- Pools. --- */

static void no_endpoint_is_outside_the_bounds_of_the_gateway(void **state)
{
    (void)state;
    struct ps_cidr networks[] = {{.bits = PS_V4_BITS + 8}, {.bits = 128}};
    struct cfg_bounds own = {.networks = {networks, 2}};
    static const struct fault_row rows[] = {
        {"{'endpoints':[@,{'address':'127.0.0.1:8080'}]}", {"/endpoints/1/address"}},
        {"{'endpoints':[@,{'address':'[::ffff:127.0.0.1]:8090'}]}", {"/endpoints/1/address"}},
        {"{'endpoints':[{'address':'127.9.9.9:8080'},{'address':'127.0.0.1:8090'},@]}",
         {"/endpoints/0/address", "/endpoints/1/address"}},
        {"{'endpoints':[@,{'address':'192.0.2.1:8080'}]}", {"/endpoints/1/address"}},
    };
    assert_ok(ps_cidr_parse("127.0.0.0/8", 11, &networks[0]));
    assert_ok(ps_cidr_parse("::1", 3, &networks[1]));
    assert_ok(ps_address_parse("0.0.0.0", 7, false, &own.listeners[0].address));
    assert_ok(ps_address_parse("127.0.0.1", 9, false, &own.listeners[1].address));
    own.listeners[0].port = 8080;
    own.listeners[1].port = 8090;
    bounds = &own;
    assert_rows(&cfg_kind_pool, rows, PS_ARRAY_LEN(rows), "{'address':'[::1]:8080'}");
    assert_is(&cfg_kind_pool,
              "{\"endpoints\":[{\"address\":\"127.0.0.1:8081\"},{\"address\":\"127.0.0.2:8090\"}]}",
              NULL);
    bounds = NULL; /* what is stored is read, whatever it names */
    assert_is(&cfg_kind_pool, "{\"endpoints\":[{\"address\":\"127.0.0.1:8080\"}]}", NULL);
}

static void a_pool_has_its_defaults(void **state)
{
    (void)state;
    assert_is(&cfg_kind_pool, "{\"endpoints\":[{\"address\":\"127.0.0.1:9001\"}]}",
              "{\"algorithm\":\"round_robin\",\"hash_by\":null,\"endpoints\":[{\"address\":"
              "\"127.0.0.1:9001\",\"weight\":1,\"drain\":false}],\"discovery\":null,"
              "\"health\":null,\"outlier\":{\"consecutive_errors\":5,\"success_share_min\":0.5,"
              "\"latency_factor\":0,\"requests_min\":20,\"eject_ms\":10000,"
              "\"ejected_share_max\":0.5},\"panic_share\":0.5,\"slow_start_ms\":0,"
              "\"drain_ms\":30000,\"connections_max\":0,\"queue_max\":0,\"uploads\":0.25,"
              "\"retry_budget\":0.2}");
}

static void a_health_check_has_its_defaults(void **state)
{
    struct cfg_doc *doc =
        read_doc(&cfg_kind_pool, "{\"discovery\":{\"registration\":true},\"health\":{}}");
    (void)state;
    assert_non_null(strstr(doc->json, "\"health\":{\"path\":\"/\",\"host\":null,\"interval_ms\":"
                                      "1000,\"timeout_ms\":500,\"healthy_after\":2,"
                                      "\"unhealthy_after\":3,\"expect\":[200]}"));
    assert_non_null(strstr(doc->json, "\"discovery\":{\"registration\":true,"
                                      "\"shrink_share_min\":0.5}"));
    cfg_doc_free(doc);
}

static void a_pool_reads_back_as_itself(void **state)
{
    (void)state;
    assert_is(&cfg_kind_pool,
              "{\"algorithm\":\"consistent_hash\",\"hash_by\":\"cookie:sid\",\"endpoints\":["
              "{\"address\":\"[::1]:80\",\"weight\":0,\"drain\":true},"
              "{\"address\":\"10.0.0.1:65535\",\"weight\":1000}],\"discovery\":{\"dns\":"
              "\"shop.internal\",\"port\":8080,\"shrink_share_min\":0.25},\"health\":{\"path\":"
              "\"/h?x=1\",\"host\":\"shop:80\",\"expect\":[200,204]},\"outlier\":{"
              "\"latency_factor\":2.5},\"retry_budget\":0}",
              NULL);
    assert_is(&cfg_kind_pool, "{\"discovery\":{\"file\":\"x.json\"}}", NULL);
    assert_is(&cfg_kind_pool, "{\"discovery\":{\"srv\":\"_http._tcp.shop.internal\"}}", NULL);
    assert_is(&cfg_kind_pool,
              "{\"algorithm\":\"consistent_hash\",\"discovery\":{\"file\":\"x.json\"}}", NULL);
}

static void consistent_hash_shows_what_it_goes_by(void **state)
{
    static const char *const said[] = {"", ",\"hash_by\":null", ",\"hash_by\":\"path\""};
    char text[160];
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(said); i++) {
        (void)snprintf(text, sizeof text,
                       "{\"algorithm\":\"consistent_hash\",\"discovery\":{\"file\":\"x.json\"}%s}",
                       said[i]);
        struct cfg_doc *doc = read_doc(&cfg_kind_pool, text);
        assert_non_null(strstr(doc->json, "\"hash_by\":\"path\""));
        cfg_doc_free(doc);
    }
}

static void an_address_has_one_spelling(void **state)
{
    struct cfg_endpoint endpoint;
    (void)state;
    assert_int_equal(cfg_endpoint_parse("[0:0::1]:9001", 13, &endpoint), 0);
    assert_string_equal(endpoint.address, "[::1]:9001");
    assert_int_equal(cfg_endpoint_parse("[::ffff:10.0.0.1]:80", 20, &endpoint), 0);
    assert_string_equal(endpoint.address, "10.0.0.1:80");
    assert_int_equal(endpoint.port, 80);
    assert_int_equal(endpoint.weight, 1);
    for (size_t i = 0; i < 10; i++) {
        static const char *const wrong[] = {
            "",    "127.0.0.1",       "127.0.0.1:", "127.0.0.1:0", "::1:9001",
            ":80", "127.0.0.1:65536", "[::1]",      "shop:9001",   "127.0.0.1:080"};
        assert_int_equal(cfg_endpoint_parse(wrong[i], strlen(wrong[i]), &endpoint), PS_E_INVALID);
    }
}

static void each_fault_of_a_pool_has_its_pointer(void **state)
{
    static const struct fault_row rows[] = {
        {"{}", {"/endpoints"}},
        {"{'endpoints':[]}", {"/endpoints"}},
        {"{'endpoints':{}}", {"/endpoints"}},
        {"{'endpoints':[7]}", {"/endpoints/0"}},
        {"{'endpoints':[{'address':'127.0.0.1:1','weight':0}]}", {"/endpoints"}},
        {"{'endpoints':[{'address':'127.0.0.1:1','weight':1001}]}", {"/endpoints/0/weight"}},
        {"{'endpoints':[{'address':'127.0.0.1:1','drain':1}]}", {"/endpoints/0/drain"}},
        {"{'endpoints':[{'address':'shop:80'}]}", {"/endpoints/0/address"}},
        {"{'endpoints':[{'weight':1}]}", {"/endpoints/0/address"}},
        {"{'endpoints':[{'address':'127.0.0.1:1','ip':1}]}", {"/endpoints/0/ip"}},
        {"{'endpoints':[{'address':'[::1]:1'},{'address':'127.0.0.1:1'},{'address':'[0::1]:1'}]}",
         {"/endpoints/2/address"}},
        {"{@,'algorithm':'fastest'}", {"/algorithm"}},
        {"{@,'hash_by':'cookie:sid'}", {"/hash_by"}},
        {"{@,'algorithm':'consistent_hash','hash_by':'user'}", {"/hash_by"}},
        {"{@,'algorithm':'consistent_hash','hash_by':'header:'}", {"/hash_by"}},
        {"{@,'algorithm':'consistent_hash','hash_by':'header:a b'}", {"/hash_by"}},
        {"{@,'discovery':{}}", {"/discovery"}},
        {"{@,'discovery':{'file':'x','srv':'y'}}", {"/discovery"}},
        {"{@,'discovery':{'file':'/x.json'}}", {"/discovery/file"}},
        {"{@,'discovery':{'file':'../x.json'}}", {"/discovery/file"}},
        {"{@,'discovery':{'file':'a/../../x.json'}}", {"/discovery/file"}},
        {"{@,'discovery':{'file':'..'}}", {"/discovery/file"}},
        {"{@,'discovery':{'dns':'shop'}}", {"/discovery/port"}},
        {"{@,'discovery':{'dns':'10.0.0.1','port':1}}", {"/discovery/dns"}},
        {"{@,'discovery':{'dns':'a b','port':0}}", {"/discovery/dns", "/discovery/port"}},
        {"{@,'discovery':{'srv':'x','port':1}}", {"/discovery/port"}},
        {"{@,'discovery':{'registration':false}}", {"/discovery/registration"}},
        {"{@,'discovery':{'srv':'x','shrink_share_min':2}}", {"/discovery/shrink_share_min"}},
        {"{@,'health':{'path':'x'}}", {"/health/path"}},
        {"{@,'health':{'path':'/a b'}}", {"/health/path"}},
        {"{@,'health':{'host':'a b'}}", {"/health/host"}},
        {"{@,'health':{'timeout_ms':2000}}", {"/health/timeout_ms"}},
        {"{@,'health':{'interval_ms':1}}", {"/health/interval_ms"}},
        {"{@,'health':{'expect':[]}}", {"/health/expect"}},
        {"{@,'health':{'expect':[100]}}", {"/health/expect/0"}},
        {"{@,'health':{'healthy_after':0,'unhealthy_after':0}}",
         {"/health/healthy_after", "/health/unhealthy_after"}},
        {"{@,'outlier':{'latency_factor':0.5}}", {"/outlier/latency_factor"}},
        {"{@,'outlier':{'ejected_share_max':1.5}}", {"/outlier/ejected_share_max"}},
        {"{@,'outlier':{'errors':1}}", {"/outlier/errors"}},
        {"{@,'panic_share':-1,'slow_start_ms':-1,'drain_ms':-1,'retry_budget':2}",
         {"/panic_share", "/slow_start_ms", "/drain_ms", "/retry_budget"}},
        {"{@,'connections_max':-1,'queue_max':'x'}", {"/connections_max", "/queue_max"}},
        {"{@,'uploads':1.01}", {"/uploads"}},
        {"{@,'name':'web'}", {"/name"}},
    };
    (void)state;
    assert_rows(&cfg_kind_pool, rows, PS_ARRAY_LEN(rows),
                "'endpoints':[{'address':'127.0.0.1:9001'}]");
}

/* --- Caches. --- */

static void a_cache_has_its_defaults_and_faults(void **state)
{
    static const struct fault_row rows[] = {
        {"{'bytes':1}", {"/bytes"}},
        {"{'bytes':68719476737}", {"/bytes"}},
        {"{'bytes':8388608,'object_bytes_max':1048577}", {"/object_bytes_max"}},
        {"{'object_bytes_max':0}", {"/object_bytes_max"}},
        {"{'eviction':'fifo'}", {"/eviction"}},
        {"{'size':1}", {"/size"}},
    };
    (void)state;
    assert_is(&cfg_kind_cache, "{}",
              "{\"bytes\":67108864,\"object_bytes_max\":1048576,\"eviction\":\"lru\"}");
    assert_is(&cfg_kind_cache, "{\"bytes\":1048576,\"eviction\":\"lfu\"}",
              "{\"bytes\":1048576,\"object_bytes_max\":131072,\"eviction\":\"lfu\"}");
    assert_rows(&cfg_kind_cache, rows, PS_ARRAY_LEN(rows), "");
}

/* --- Routes. --- */

static void a_route_has_its_defaults(void **state)
{
    (void)state;
    assert_is(&cfg_kind_route, "{\"path\":\"/p/\",\"pool\":\"web\"}",
              "{\"host\":null,\"path\":\"/p/\",\"match\":\"prefix\",\"methods\":[\"GET\",\"HEAD\"],"
              "\"class\":\"normal\",\"pool\":\"web\",\"split\":[],\"first_byte_ms\":1000,"
              "\"total_ms\":10000,\"body_max\":1048576,\"body_methods\":null,\"request_headers\":{"
              "\"set\":{},"
              "\"remove\":[]},\"response_headers\":{\"set\":{},\"remove\":[]},\"cache\":null,"
              "\"fallback\":[],\"redirect\":null,\"answer\":null,\"mirror\":null}");
}

static void a_route_reads_back_as_itself(void **state)
{
    struct cfg_doc *doc;
    (void)state;
    assert_is(&cfg_kind_route,
              "{\"host\":\"Shop.Example\",\"path\":\"/p/%20a\",\"match\":\"exact\",\"methods\":["
              "\"POST\",\"GET\"],\"class\":\"core\",\"pool\":\"web\",\"split\":[{\"pool\":\"web2\","
              "\"share\":0.001,\"by\":\"cookie:sid\",\"return\":{\"errors_above\":0.02,"
              "\"p99_above\":1.5}},{\"pool\":\"web3\",\"share\":1,\"by\":\"header:X-Beta=1=2\"},"
              "{\"pool\":\"web4\",\"share\":0.999,\"by\":\"request\"}],\"request_headers\":{"
              "\"set\":{\"X-Shop\":\"a b\"},\"remove\":[\"Cookie\"]},\"cache\":{\"query\":[\"id\","
              "\"page\"],\"stale_if_error_s\":60,\"request_no_cache\":\"obey\"},\"fallback\":[{"
              "\"kind\":\"stale\"},{\"kind\":\"pool\",\"pool\":\"backup\"},{\"kind\":\"static\","
              "\"status\":503,\"body\":\"<p>soon\"}],\"mirror\":{\"pool\":\"web5\",\"share\":0.1}}",
              NULL);
    assert_is(&cfg_kind_route,
              "{\"path\":\"/\",\"redirect\":{\"status\":301,\"location\":\"https://a.example/\"}}",
              NULL);
    assert_is(&cfg_kind_route, "{\"path\":\"/\",\"answer\":{\"status\":204}}", NULL);
    doc = read_doc(&cfg_kind_route, "{\"host\":\"Shop.Example\",\"path\":\"/\",\"pool\":\"web\","
                                    "\"cache\":{},\"split\":[{\"pool\":\"b\",\"share\":0.005}]}");
    assert_string_equal(cfg_route_of(doc)->host, "shop.example");
    assert_string_equal(cfg_route_of(doc)->cache.store, "default");
    assert_int_equal(cfg_route_of(doc)->splits[0].per_mille, 5);
    assert_non_null(strstr(doc->json, "\"share\":0.005,\"by\":\"user\",\"return\":null"));
    cfg_doc_free(doc);
}

static void each_fault_of_a_route_has_its_pointer(void **state)
{
    static const struct fault_row rows[] = {
        {"{}", {"/path", ""}},
        {"{'path':'/p/'}", {""}},
        {"{'path':'/p/','pool':'web','answer':{}}", {""}},
        {"{'path':'/p/','pool':'web','redirect':{'location':'/'}}", {""}},
        {"{'path':'/p/','redirect':{'location':'/'},'answer':{}}", {""}},
        {"{'path':'/p','pool':'web'}", {"/path"}},
        {"{'path':'p/','pool':'web'}", {"/path"}},
        {"{'path':'','pool':'web'}", {"/path"}},
        {"{'path':null,'pool':'web'}", {"/path"}},
        {"{'path':'/p?x/','pool':'web'}", {"/path"}},
        {"{'path':'/p/../q/','pool':'web'}", {"/path"}},
        {"{'path':'/p/./q/','pool':'web'}", {"/path"}},
        {"{'path':'/p%2/','pool':'web'}", {"/path"}},
        {"{'path':'/a b/','pool':'web'}", {"/path"}},
        {"{'path':'/v1/','pool':'web'}", {"/path"}},
        {"{'path':'/v1/sales/','pool':'web'}", {"/path"}},
        {"{'path':'/v1/sales/x','match':'exact','pool':'web'}", {"/path"}},
        {"{'path':'/livez','match':'exact','pool':'web'}", {"/path"}},
        {"{'path':'/readyz/','pool':'web'}", {"/path"}},
        {"{@,'match':'regex'}", {"/match"}},
        {"{@,'host':'a b'}", {"/host"}},
        {"{@,'host':''}", {"/host"}},
        {"{@,'host':'shop:80'}", {"/host"}},
        {"{@,'methods':[]}", {"/methods"}},
        {"{@,'methods':['get']}", {"/methods/0"}},
        {"{@,'methods':['GET','GET']}", {"/methods/1"}},
        {"{@,'methods':['CONNECT']}", {"/methods/0"}},
        {"{@,'methods':'GET'}", {"/methods"}},
        {"{@,'class':'vital'}", {"/class"}},
        {"{'path':'/p/','pool':'a b'}", {"/pool"}},
        {"{@,'split':[{'pool':'b','share':0.6},{'pool':'c','share':0.5,'by':'request'}]}",
         {"/split"}},
        {"{@,'split':[{'pool':'b','share':0.0005}]}", {"/split/0/share"}},
        {"{@,'split':[{'pool':'b','share':1.5}]}", {"/split/0/share"}},
        {"{@,'split':[{'share':0.5}]}", {"/split/0/pool"}},
        {"{@,'split':[{'pool':'b'}]}", {"/split/0/share"}},
        {"{@,'split':[{'pool':'b','share':0.5,'by':'cookie:'}]}", {"/split/0/by"}},
        {"{@,'split':[{'pool':'b','share':0.5,'by':'header:X'}]}", {"/split/0/by"}},
        {"{@,'split':[{'pool':'b','share':0.5,'by':'ip'}]}", {"/split/0/by"}},
        {"{@,'split':[{'pool':'b','share':0.5,'return':{}}]}", {"/split/0/return"}},
        {"{@,'split':[{'pool':'b','share':0.5,'return':{'p99_above':0.5}}]}",
         {"/split/0/return/p99_above"}},
        {"{@,'first_byte_ms':20000}", {"/first_byte_ms"}},
        {"{@,'total_ms':0,'body_max':-1}", {"/total_ms", "/body_max"}},
        {"{@,'body_methods':['DELETE']}", {"/body_methods"}},
        {"{@,'body_methods':['TRACE','GET','GET']}", {"/body_methods/0", "/body_methods/2"}},
        {"{@,'request_headers':{'set':{'a b':'x'}}}", {"/request_headers/set/a b"}},
        {"{@,'request_headers':{'set':{'HOST':'x'}}}", {"/request_headers/set/HOST"}},
        {"{@,'request_headers':{'set':{'X-Forwarded-Proto':'x'}}}",
         {"/request_headers/set/X-Forwarded-Proto"}},
        {"{@,'request_headers':{'set':{'proxy-anything':'x','X-A':7}}}",
         {"/request_headers/set/proxy-anything", "/request_headers/set/X-A"}},
        {"{@,'request_headers':{'set':{'X-A':'1','x-a':'2'}}}", {"/request_headers/set/x-a"}},
        {"{@,'request_headers':{'set':{'X-A':'a\\u0001'}}}", {"/request_headers/set/X-A"}},
        {"{@,'request_headers':{'set':{'X-A':'a\\r\\nB: c'}}}", {"/request_headers/set/X-A"}},
        {"{@,'request_headers':{'set':{'X-A':' a'}}}", {"/request_headers/set/X-A"}},
        {"{@,'response_headers':{'remove':['Age','Content-Length',7,'a:b']}}",
         {"/response_headers/remove/0", "/response_headers/remove/1", "/response_headers/remove/2",
          "/response_headers/remove/3"}},
        {"{@,'response_headers':{'set':{'X-A':'1'},'remove':['x-a']}}",
         {"/response_headers/remove/0"}},
        {"{@,'response_headers':{'add':{}}}", {"/response_headers/add"}},
        {"{@,'cache':{'store':'a b'}}", {"/cache/store"}},
        {"{@,'cache':{'query':'some'}}", {"/cache/query"}},
        {"{@,'cache':{'query':[]}}", {"/cache/query"}},
        {"{@,'cache':{'query':['a','a']}}", {"/cache/query"}},
        {"{@,'cache':{'query':['a&b']}}", {"/cache/query"}},
        {"{@,'cache':{'request_no_cache':'maybe','default_ttl_s':-1}}",
         {"/cache/request_no_cache", "/cache/default_ttl_s"}},
        {"{@,'methods':['POST'],'cache':{}}", {"/cache"}},
        {"{@,'fallback':[{'kind':'stale'}]}", {"/fallback/0/kind"}},
        {"{@,'cache':{},'fallback':[{'kind':'stale'},{'kind':'stale'}]}", {"/fallback/1/kind"}},
        {"{@,'fallback':[{'kind':'pool','pool':'web'}]}", {"/fallback/0/pool"}},
        {"{@,'fallback':[{'kind':'pool','pool':'b'},{'kind':'pool','pool':'b'}]}",
         {"/fallback/1/pool"}},
        {"{@,'fallback':[{'kind':'pool'}]}", {"/fallback/0/pool"}},
        {"{@,'fallback':[{}]}", {"/fallback/0/kind"}},
        {"{@,'fallback':[{'kind':'problem'},{'kind':'pool','pool':'b'}]}", {"/fallback/1/kind"}},
        {"{@,'fallback':[{'kind':'problem','status':503}]}", {"/fallback/0/status"}},
        {"{@,'fallback':[{'kind':'static','status':199}]}", {"/fallback/0/status"}},
        {"{@,'fallback':[{'kind':'static','status':304}]}", {"/fallback/0/status"}},
        {"{@,'fallback':[{'kind':'static','status':204,'body':'x'}]}", {"/fallback/0/body"}},
        {"{@,'fallback':[{'kind':'static','content_type':'a\\nb'}]}", {"/fallback/0/content_type"}},
        {"{@,'fallback':[{'kind':'static','file':'soon.html'}]}", {"/fallback/0/file"}},
        {"{'path':'/','redirect':{}}", {"/redirect/location"}},
        {"{'path':'/','redirect':{'status':304,'location':'/x'}}", {"/redirect/status"}},
        {"{'path':'/','redirect':{'status':200,'location':'/x'}}", {"/redirect/status"}},
        {"{'path':'/','redirect':{'location':'ftp://x'}}", {"/redirect/location"}},
        {"{'path':'/','redirect':{'location':'/a b'}}", {"/redirect/location"}},
        {"{'path':'/','redirect':{'location':'/x\\r\\ny'}}", {"/redirect/location"}},
        {"{'path':'/','answer':{'status':600}}", {"/answer/status"}},
        {"{'path':'/','answer':{},'cache':{}}", {"/cache"}},
        {"{'path':'/','answer':{},'split':[{'pool':'b','share':0.1}]}", {"/split"}},
        {"{'path':'/','answer':{},'fallback':[{'kind':'problem'}]}", {"/fallback"}},
        {"{'path':'/','answer':{},'mirror':{'pool':'b','share':0.1}}", {"/mirror"}},
        {"{@,'mirror':{'pool':'web','share':0.1}}", {"/mirror/pool"}},
        {"{@,'mirror':{'pool':'b'}}", {"/mirror/share"}},
        {"{@,'methods':['POST'],'mirror':{'pool':'b','share':0.1}}", {"/mirror"}},
        {"{@,'retries':3}", {"/retries"}},
        {"{'path':'p','pool':'','methods':[],'class':7}", {"/path", "/pool", "/methods", "/class"}},
    };
    (void)state;
    assert_rows(&cfg_kind_route, rows, PS_ARRAY_LEN(rows), "'path':'/p/','pool':'web'");
}

static void a_prefix_of_everything_is_a_route(void **state)
{
    (void)state;
    assert_is(&cfg_kind_route, "{\"path\":\"/\",\"pool\":\"web\"}", NULL);
    assert_is(&cfg_kind_route, "{\"path\":\"/v10/\",\"pool\":\"web\"}", NULL);
}

static void a_body_has_at_most_64_kib(void **state)
{
    static char text[70000];
    (void)state;
    int at = snprintf(text, sizeof text, "{\"path\":\"/\",\"answer\":{\"body\":\"");
    memset(text + at, 'x', 65536);
    (void)snprintf(text + at + 65536, 8, "\"}}");
    assert_is(&cfg_kind_route, text, NULL);
    (void)snprintf(text + at + 65536, 8, "x\"}}");
    assert_faults(&cfg_kind_route, text, (const char *const[4]){"/answer/body"});
}

/* --- Reference counts. --- */

static void what_is_kept_outlives_its_version(void **state)
{
    struct cfg_doc *doc = read_doc(&cfg_kind_pool, "{\"discovery\":{\"srv\":\"shop\"}}");
    struct cfg_pool *pool = cfg_pool_keep(cfg_pool_of(doc));
    (void)state;
    cfg_doc_free(doc);
    assert_string_equal(pool->discovery.from, "shop");
    cfg_pool_drop(pool);
    doc = read_doc(&cfg_kind_route, "{\"path\":\"/\",\"pool\":\"web\"}");
    struct cfg_route *route = cfg_route_keep(cfg_route_of(doc));
    cfg_doc_free(doc);
    assert_string_equal(route->path, "/");
    cfg_route_drop(route);
    cfg_pool_drop(NULL);
    cfg_route_drop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_has_its_defaults),
        cmocka_unit_test(no_endpoint_is_outside_the_bounds_of_the_gateway),
        cmocka_unit_test(a_health_check_has_its_defaults),
        cmocka_unit_test(a_pool_reads_back_as_itself),
        cmocka_unit_test(consistent_hash_shows_what_it_goes_by),
        cmocka_unit_test(an_address_has_one_spelling),
        cmocka_unit_test(each_fault_of_a_pool_has_its_pointer),
        cmocka_unit_test(a_cache_has_its_defaults_and_faults),
        cmocka_unit_test(a_route_has_its_defaults),
        cmocka_unit_test(a_route_reads_back_as_itself),
        cmocka_unit_test(each_fault_of_a_route_has_its_pointer),
        cmocka_unit_test(a_prefix_of_everything_is_a_route),
        cmocka_unit_test(a_body_has_at_most_64_kib),
        cmocka_unit_test(what_is_kept_outlives_its_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
