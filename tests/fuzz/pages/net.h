/* Sockets and time of one process, in memory: the libc calls that the gateway and libuv make are
 * answered from here (net.c), so that what a script does has the same effects each time, a full
 * buffer is a number of bytes, and a minute costs nothing. The clock moves only while libuv sleeps,
 * and by net_stall. One thread. */
#ifndef FUZZ_NET_H
#define FUZZ_NET_H

#include "common/text/address.h"
#include "common/clock.h"
#include "tests/fuzz/fuzz.h"

#define NET_IN_MAX ((size_t)64 * 1024) /* sent to the gateway and not read by it */
#define NET_OUT_MAX                                                                                \
    ((size_t)16 * 1024) /* sent by the gateway and not read by its peer, at most                   \
                         */

/* Forgets all descriptors, and sets the clock. */
void net_reset(void);
int64_t net_now_ns(void);
/* Time passes while the gateway's thread stands still. */
void net_stall(int64_t ms);
/* Events that the loop was told since the last call; what far ends have sent, read or ended. */
size_t net_events(void);
size_t net_moves(void);
/* Descriptors that the gateway has not closed. */
size_t net_open(void);
/* The order in which the loop is told of descriptors that are ready at the same time. */
void net_turn(unsigned first);

/* A descriptor for the gateway to listen on. */
int net_listen(void);
/* A client of this address connects; the descriptor that accept4 will give. -1: none is left. */
int net_client(const struct ps_address *from);

/* --- The far end of a connection, by the gateway's descriptor. --- */

/* How many bytes fit. */
size_t net_push(int fd, const char *data, size_t len);
size_t net_pull(int fd, char *data, size_t len);
size_t net_unread(int fd); /* that could be pulled */
/* So many bytes may lie unread by the far end. */
void net_limit(int fd, size_t out_max);
void net_end(int fd); /* nothing more is sent to the gateway */
void net_reset_by_peer(int fd);
/* Has the gateway ended its direction (or closed, or reset), and is all of it read? */
bool net_has_ended(int fd);
bool net_was_reset(int fd); /* by the gateway */
/* The far end is done with it. */
void net_leave(int fd);

/* --- Connections that the gateway makes. --- */

enum net_reply { NET_ACCEPTS, NET_REFUSES, NET_REFUSES_LATER, NET_IS_SILENT };
/* The scripted shop's. */
enum net_reply shop_on_connect(int fd, uint16_t port);

/* --- Memory of the gateway's code (memory.c). --- */

/* The n-th allocation from now fails, once; 0: none. */
void memory_fail(unsigned nth);
void memory_begin(bool now); /* a gateway is being made */
void memory_forget(void);
bool memory_has_failed(void); /* since it was told to forget */
/* Bytes; only a difference says something, of one gateway. */
int64_t memory_live(void);

#endif
