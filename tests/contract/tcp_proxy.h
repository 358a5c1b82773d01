/* A TCP proxy for one client network: see kafka_broker.h for what its modes do. */
#ifndef PS_TEST_TCP_PROXY_H
#define PS_TEST_TCP_PROXY_H

/* Passes connections to 127.0.0.1:port on to 127.0.0.1:server_port. Each byte read from `orders` is
 * a new mode and is answered by a byte on `answers` when it is in force. Returns at the end of
 * `orders`. */
void tcp_proxy_run(int port, int server_port, int orders, int answers);

#endif
