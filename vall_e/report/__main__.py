from vall_e import config
from vall_e.report.summary import main

config.run_main(main)
