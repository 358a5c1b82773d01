#ifndef OQ_CHECKPOINT_H
#define OQ_CHECKPOINT_H
struct oq_cut;
struct oq_order;
void oq_cut_note(struct oq_cut *cut, const struct oq_order *order);
#endif
