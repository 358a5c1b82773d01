/* What a page of the scripted shop says of itself: as what it was asked for, as the shop saw it.
 * Shop and clients make it by the same functions, so a client can tell whether the page that it
 * got is one that was made for what it has asked. */
#ifndef FUZZ_PAGE_H
#define FUZZ_PAGE_H

#include "common/text/buf.h"
#include "common/http/chunks.h"
#include "tests/fuzz/pages/net.h"

/* In this order, each behind the one before and a bar. */
enum page_part {
    PAGE_METHOD,
    PAGE_AUTHORITY, /* lower case, without :80 and :443 */
    PAGE_PATH,
    PAGE_QUERY, /* parameters sorted */
    PAGE_SCHEME,
    PAGE_LANGUAGE, /* this and the next three: "-" where the page does not depend on it */
    PAGE_USER,
    PAGE_AUTHORIZATION,
    PAGE_OVERRIDE, /* X-HTTP-Method-Override */
    PAGE_LENGTH,   /* of the body */
    PAGE_PARTS
};

#define PAGE_PART_MAX 64
#define PAGE_TEXT_MAX 704

struct page {
    char parts[PAGE_PARTS][PAGE_PART_MAX];
};

/* A part from a field's value: what is too long is cut, odd bytes are replaced. */
void page_set(struct page *page, enum page_part part, struct ps_str value);
/* The same without capitals: a host, and a language, has none. */
void page_set_lower(struct page *page, enum page_part part, struct ps_str value);
/* In the one spelling that addresses have for the gateway. */
void page_set_authority(struct page *page, struct ps_str value);
void page_set_path(struct page *page, struct ps_str value);
void page_set_query(struct page *page, struct ps_str value);
static inline bool page_is(const struct page *page, enum page_part part, const char *text)
{
    return strcmp(page->parts[part], text) == 0;
}

void page_print(const struct page *page, struct ps_buf *buf);
/* False: it is none. */
bool page_read(struct ps_str text, struct page *ret_page);
uint64_t page_hash(const struct page *page);
/* The body of a page of this hash, as long as any; until the next call. */
#define PAGE_BODY_MAX ((size_t)40000)
const char *page_body(uint64_t hash);

/* --- shop.c --- */

/* How the shop answers from now on, until it is told otherwise. */
enum shop_way {
    SHOP_AT_ONCE,
    SHOP_STEP_BY_STEP, /* as shop_step says */
    SHOP_HALF_RESET,
    SHOP_HALF_END,
    SHOP_GARBAGE,
    SHOP_SILENT,
    SHOP_HINTS,   /* 103 first */
    SHOP_SURPLUS, /* another answer behind it */
    SHOP_CLOSE,
    SHOP_EARLY, /* before it has read the body */
    SHOP_WAYS
};
struct shop_plan {
    unsigned status, cache, vary, framing, size; /* as shop.c lists them */
    bool no_validators, no_304;
    enum shop_way way;
};

void shop_open(void);
/* Reads what has come and sends what there is to send. */
void shop_pump(void);
void shop_set(const struct shop_plan *plan);
/* Endpoints 0 to 2. */
void shop_take_connections(unsigned endpoint, enum net_reply reply);
/* Of the connections that wait for the script, the n-th: sends so many bytes; 0: all that is left.
 */
void shop_step(unsigned nth, size_t bytes);
/* The n-th connection ends, or is reset. */
void shop_die(unsigned nth, bool reset);
/* Says something on the n-th connection, though it was not asked. */
void shop_speak(unsigned nth);
/* While it does not read, requests stay where they are. */
void shop_read(bool reads);
/* Everything is answered as usual from now on; who was not to be answered is reset. */
void shop_settle(void);
size_t shop_connections(void);
/* Was anything done by which a client may get an answer of 500 and above? */
bool shop_made_trouble(void);
/* May more than one request get this answer? */
bool shop_is_storable(unsigned serial);

/* --- client.c --- */

#define CLIENTS 4

/* A request, as numbers that client.c looks up. */
struct client_ask {
    unsigned path, query, method, host, scheme, language, connection, body, condition, control;
    bool old, user, authorization, override, expects;
};

void client_open(void);
/* True: it was not connected. */
bool client_connect(unsigned client, unsigned from);
/* Sends a request; of its bytes `hold` at the end stay with the client until client_go_on. */
void client_ask(unsigned client, const struct client_ask *ask, size_t hold);
void client_ask_often(unsigned client, unsigned path, unsigned times);
void client_go_on(unsigned client, size_t bytes, bool singly);
/* Bytes that may be anything: from now on nothing is known of the answers. */
void client_say(unsigned client, const char *data, size_t len);
void client_read(unsigned client, bool reads, size_t bytes);
/* What its socket keeps unread. */
void client_limit(unsigned client, size_t bytes);
enum client_end { CLIENT_HALF, CLIENT_CLOSE, CLIENT_RESET };
void client_leave(unsigned client, enum client_end how);
/* Reads what has come, and looks at it; sends what did not fit before. */
void client_pump(void);
/* All of them send what they have begun and read; before the last look. */
void client_settle(void);
/* Each request was answered, or its connection has ended. */
bool clients_answered(void);
void client_leave_all(void);
size_t clients_connected(void);
/* May an answer of 500 and above come for reasons of the script's own? */
void client_expect_trouble(void);

#endif
