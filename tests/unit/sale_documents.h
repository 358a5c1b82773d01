/* Documents of sales, read by their table. */
#ifndef SALE_DOCUMENTS_H
#define SALE_DOCUMENTS_H

#include "gateway/config/kinds/sale_doc.h"
#include "gateway/config/store/store.h"

/* What is not read is zero. */
static inline int sale_doc_read(const json_t *json, const struct cfg_reading *reading,
                                struct cfg_sale_doc *ret_doc, struct ps_faults *faults)
{
    const struct ps_table_source source = {
        .json = json, .pointer = reading->pointer, .ctx = reading};
    *ret_doc = (struct cfg_sale_doc){0};
    int err = ps_table_read(&cfg_sale_table, &source, ret_doc, faults);

    if (err < 0)
        ps_table_free(&cfg_sale_table, ret_doc);
    return err;
}

static inline void sale_doc_done(struct cfg_sale_doc *doc)
{
    ps_table_free(&cfg_sale_table, doc);
}

#endif
