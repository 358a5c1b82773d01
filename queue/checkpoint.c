#include "queue/checkpoint.h"
void oq_cut_note(struct oq_cut *cut, const struct oq_order *order) { (void)cut; (void)order; }
