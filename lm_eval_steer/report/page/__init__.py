"""Results as figures and as one page: who won, by how much, and what the model wrote.

views.py     per document: the baseline's response, one per strength, the vote's
scores.py    whether a response that no run scored is right
pictures.py  the figures that results allow
words.py     verdicts as sentences; tables.py as a table; settings.py what was run
data.py      documents and responses as the browser reads them
page.py      the page (page.html, page.css, page.js), with figures by svg.py
"""

from lm_eval_steer.report.page.page import check_page, make_page, write_page
from lm_eval_steer.report.page.pictures import check_folder, write_figures

__all__ = ["check_folder", "check_page", "make_page", "write_figures", "write_page"]
