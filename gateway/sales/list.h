/* The sales in force on this gateway by name: what operators decided about each, and its state
 * here. The control thread. */
#ifndef SALE_LIST_H
#define SALE_LIST_H

#include "gateway/sales/sales.h"

/* The result of a sale's last audit. */
struct sale_audited {
    int64_t at_ms;      /* wall clock; 0: there was none */
    int64_t violations; /* found by it */
    int64_t due_ns;     /* when the next automatic audit is due; 0: not computed yet */
    bool ended;         /* the sale was seen as ended: its next audit does not wait */
    bool final;         /* the audit was made after the sale's last order was settled */
};

struct sale_entry {
    struct cfg_stored_sale
        stored;           /* name, document, state: the version in force; the store owns it */
    unsigned changing;    /* changes of it being written: it is not opened meanwhile, since they may
                             change its stock */
    struct sale_run *run; /* its state here */
    struct sale_audited audited;
    int64_t head_due_ms; /* wall clock: when the head of the audit log goes into the order log for
                            it; 0: not computed yet */
};

struct sale_list {
    struct sale_entry **at; /* sorted by name; the pointers stay valid until the sale is dropped */
    size_t count, room;
};

/* NULL: there is none. */
struct sale_entry *sale_list_find(const struct sale_list *list, const char *name, size_t len);
/* The sale's entry; creates one with its name and run alone if there is none. NULL: out of
 * memory. */
struct sale_entry *sale_list_add(struct sale_list *list, struct sale_runs *runs, const char *name);
void sale_list_drop(struct sale_list *list, const char *name); /* if it is there */
void sale_list_done(struct sale_list *list);

#endif
