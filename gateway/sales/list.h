/* The sales in force on this gateway by name: what operators decided of each, and how far it is
 * here. The control thread. */
#ifndef SALE_LIST_H
#define SALE_LIST_H

#include "gateway/sales/sales.h"

/* What the last audit of a sale said. */
struct sale_audited {
    int64_t at_ms;      /* wall clock; 0: there was none */
    int64_t violations; /* -1: it could not be made */
    int64_t due_ns;     /* of the next one that nobody asks for; 0: not looked at yet */
    bool ended;         /* seen so: its next audit does not wait */
    bool final;         /* made after the sale's last order was settled */
};

struct sale_entry {
    struct cfg_stored_sale stored; /* name, document, state: the version in force, which is the
                                      store's */
    unsigned changing; /* changes of it that are being written: not opened meanwhile, for they may
                          be of the stock */
    struct sale_run *run; /* how far it is here */
    struct sale_audited audited;
};

struct sale_list {
    struct sale_entry **at; /* sorted by name; the pointers stay valid until the sale is dropped */
    size_t count, room;
};

/* NULL: there is none. */
struct sale_entry *sale_list_find(const struct sale_list *list, const char *name, size_t len);
/* The sale's entry, which is made if there is none: then with its name and run alone. NULL: out of
 * memory. */
struct sale_entry *sale_list_add(struct sale_list *list, struct sale_runs *runs, const char *name);
void sale_list_drop(struct sale_list *list, const char *name); /* if it is there */
void sale_list_done(struct sale_list *list);

#endif
