/* A small DNS server on loopback, UDP and TCP, on the loop of a test: it answers from a table that
 * the test may change at any time. */
#ifndef DNS_SERVER_H
#define DNS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define DNS_RECORDS_MAX 600

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_AAAA = 28, DNS_SRV = 33 };

struct dns_record {
    char name[64];
    enum dns_type type;
    uint32_t ttl;
    char value[64]; /* an address; a name */
    uint16_t priority, weight, port;
};

struct dns_server {
    uv_udp_t udp;
    uv_tcp_t tcp;
    int port;
    char address[32]; /* "127.0.0.1:12345" */
    struct dns_record records[DNS_RECORDS_MAX];
    size_t count;
    bool silent;          /* it gets what is asked, and says nothing */
    bool garbage;         /* it answers with bytes that are no DNS */
    int refuses;          /* a response code for all (2: SERVFAIL, 5: REFUSED); 0: none */
    enum dns_type fails;  /* SERVFAIL for this type alone; 0: none */
    size_t asked, by_tcp; /* queries */
};

void dns_server_start(struct dns_server *server, uv_loop_t *loop);
void dns_server_stop(struct dns_server *server); /* the loop must turn */
void dns_add(struct dns_server *server, const char *name, enum dns_type type, uint32_t ttl,
             const char *value);
void dns_add_srv(struct dns_server *server, const char *name, uint32_t ttl, const char *target,
                 uint16_t port, uint16_t priority, uint16_t weight);

#endif
