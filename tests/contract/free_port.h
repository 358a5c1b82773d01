#ifndef PS_TEST_FREE_PORT_H
#define PS_TEST_FREE_PORT_H

/* A TCP port for a server on loopback. It is below those that the system gives to outgoing
 * connections and beside those of the system tests, nobody listens on it, and no other process that
 * asks here gets it while this one lives. Ends the process when there is none. */
int free_port(void);

#endif
