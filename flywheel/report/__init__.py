"""report: reads the tables and a few contents of a wheel, writes `reports/report.html` and `reports/data.html`.

Self-contained pages for people who decide. The first tells what each turn found, what it chose and why, what the labels
were worth, and what of it was simulated: `facts` gathers, `previews` and `charts` make the pictures, `page` lays it
out. The second tells what came in and what was refused: `data_facts` and `data_page`.
"""

from flywheel.report.data_page import write_data_page as write_data_page
from flywheel.report.page import write_report as write_report
