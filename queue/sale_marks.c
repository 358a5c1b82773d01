/* Marks of sales, by name.
 *
 * Every fence of a sale is in every partition, and each says how many partitions the sale is spread
 * over. The first one counts, since a topic that grows must not separate an order's records. All
 * readers must agree on the first one, and only records within a partition have an order: so it is
 * the first in partition 0. */
#include "queue/sale_marks.h"
#include "queue/index.h"

#include <stdlib.h>
#include <string.h>

struct mark {
    struct ps_str sale; /* first: by it the index finds it */
    uint32_t partitions;
    int64_t epoch;
};

struct oq_sale_marks {
    struct oq_arena arena;
    struct oq_index index;
};

int oq_sale_marks_new(struct oq_sale_marks **ret_marks)
{
    struct oq_sale_marks *marks = calloc(1, sizeof *marks);
    if (marks == NULL)
        return PS_E_NOMEM;
    int err = oq_index_init(&marks->index, oq_hash_by_name, oq_same_name);
    if (err != 0) {
        free(marks);
        return err;
    }
    *ret_marks = marks;
    return 0;
}

void oq_sale_marks_free(struct oq_sale_marks *marks)
{
    if (marks == NULL)
        return;
    oq_index_done(&marks->index);
    oq_arena_done(&marks->arena);
    free(marks);
}

static struct mark *find_mark(const struct oq_sale_marks *marks, struct ps_str sale)
{
    const struct mark probe = {.sale = sale};
    return oq_index_find(&marks->index, &probe);
}

static int add_mark(struct oq_sale_marks *marks, struct ps_str sale, struct mark **ret_mark)
{
    int err = oq_index_reserve(&marks->index);
    if (err != 0)
        return err;
    struct mark *mark = oq_arena_take(&marks->arena, sizeof *mark + sale.len);
    if (mark == NULL)
        return PS_E_NOMEM;
    char *name = (char *)(mark + 1);
    memcpy(name, sale.at, sale.len);
    *mark = (struct mark){.sale = {name, sale.len}};
    oq_index_put(&marks->index, mark);
    *ret_mark = mark;
    return 0;
}

int oq_sale_marks_note(struct oq_sale_marks *marks, uint32_t partition,
                       const struct oq_event *event)
{
    if (event->type != OQ_FENCED)
        return 0;
    struct mark *mark = find_mark(marks, event->sale);
    int err = mark != NULL ? 0 : add_mark(marks, event->sale, &mark);
    if (err != 0)
        return err;
    if (partition == 0 && mark->partitions == 0)
        mark->partitions = (uint32_t)event->partitions;
    if (event->epoch > mark->epoch)
        mark->epoch = event->epoch;
    return 0;
}

int oq_sale_marks_take(struct oq_sale_marks *marks, const struct oq_fold *fold)
{
    const struct oq_sale *sale;
    int err = 0;
    for (size_t i = 0; err == 0 && (sale = oq_fold_sale_at(fold, i)) != NULL; i++) {
        const struct ps_str name = ps_str(oq_sale_name(sale));
        struct mark *mark = find_mark(marks, name);
        if (mark == NULL && oq_sale_highest_epoch(sale) > 0)
            err = add_mark(marks, name, &mark);
        if (mark == NULL)
            continue;
        mark->partitions = oq_sale_partitions(sale);
        mark->epoch = oq_sale_highest_epoch(sale);
    }
    return err;
}

uint32_t oq_sale_marks_partitions(const struct oq_sale_marks *marks, struct ps_str sale)
{
    const struct mark *mark = find_mark(marks, sale);
    return mark != NULL ? mark->partitions : 0;
}

int64_t oq_sale_marks_epoch(const struct oq_sale_marks *marks, struct ps_str sale)
{
    const struct mark *mark = find_mark(marks, sale);
    return mark != NULL ? mark->epoch : 0;
}
