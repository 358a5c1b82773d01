/* A socket that this process listens on, and which addresses lead to it. */
#ifndef PS_LISTENER_H
#define PS_LISTENER_H

#include "common/text/address.h"

struct ps_listener {
    struct ps_address address; /* all zero (of its family): every address of the machine */
    uint16_t port;             /* 0: it listens nowhere */
};

/* Does a connection to this address and port reach the listener? Each address of the machine
 * reaches a listener on all of them, as of this moment: the kernel is asked, which costs a few
 * microseconds and never waits. 0.0.0.0 and [::], which the kernel connects by loopback, reach
 * each listener of their family and port. Also false if the process may open no more files. Any
 * thread. */
bool ps_listener_takes(const struct ps_listener *listener, const struct ps_address *address,
                       uint16_t port);

#endif
