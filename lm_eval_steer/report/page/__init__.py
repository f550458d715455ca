"""Results as one page: who won, by how much, and what the model wrote.

words.py     verdicts as sentences; settings.py what was run
data.py      documents and responses as the browser reads them
page.py      the page (page.html, page.css, page.js), with figures by svg.py
"""

from lm_eval_steer.report.page.page import check_page, make_page, write_page

__all__ = ["check_page", "make_page", "write_page"]
