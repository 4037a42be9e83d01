"""report: reads the tables and a few contents of a wheel, writes `reports/report.html` among its files.

One self-contained page for people who decide: what each turn found, what it chose and why, what the labels were
worth, and what of it was simulated. `facts` gathers, `previews` and `charts` make the pictures, `page` lays it out.
"""

from flywheel.report.page import write_report as write_report
