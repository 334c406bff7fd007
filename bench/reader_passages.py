"""Made-up passages of handbooks, manuals and notices, with questions about a fact in each.

A fact is a statement with its answer in double brackets, questions about it, and slots that are
filled from lists. A slot's value may have two wordings, `bicycle|bike`: the statement and the
question each take one. A statement that begins with `~` does not name its subject; it follows one
that does. A passage holds the fact asked for, others about the same subject, others of the same
form about something else, and further facts; without the fact it is a pair without an answer.
Nothing in it is from the texts below `bench/questions` or `src/graftwerk/examples`.
"""

import random
import re

from .reader_pairs import Pair

# ruff: noqa: E501  lists of words and templates

# fmt: off
_FIRST = "Ada Bilal Carmen Dmitri Elif Farah Goran Hana Ivo Jelena Kofi Lucia Marek Noor Oskar Paula Quentin Rosa Samir Tilda Umberto Vera Wanda Xenia Yusuf Zora Anders Beatriz Callum Devi".split()
_LAST = "Abbott Bergström Castell Dube Eriksen Falk Gallo Haddad Ibsen Jansen Keller Lindqvist Moreau Nakata Orlov Petrov Quist Rossi Santos Tanaka Ueda Varga Weber Yilmaz Zeller Brook Carver Dalton Finch Marsh".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTHS = "January February March April May June July August September October November December".split()
_NUMBERS = "two three four five six seven eight nine ten eleven twelve fourteen fifteen twenty thirty".split()

Fact = tuple[str, list[str], list[str]]
SLOTS: dict[str, list[str]] = {
    "item": """projector;camera|photo camera;tent;kayak;canoe|boat;bicycle|bike;drill;sewing machine;microscope;tablet computer|tablet;guitar;ladder;trailer;wheelchair;pair of skis|skis;helmet|bike helmet;locker;towel;headset|headphones;bed sheet set|bed linen;cargo bike;telescope;karaoke machine;barbecue|grill;folding table|table;stroller|pushchair;video recorder;life jacket;surfboard;pressure washer;replacement key|new key;visitor badge;parking permit|permit to park;day ticket;season ticket;guided tour|tour;family ticket;night in the dormitory|bed in the dormitory;single room;double room;breakfast;packed lunch|lunch box;hot meal|lunch;certified copy|official copy;poster print|poster;passport photo;flu vaccination|flu shot;eye test;dental check-up;swimming lesson|lesson in swimming;piano lesson;language course;first-aid course|first aid class;yoga class;membership card|member's card;second card;sauna visit|sauna;boat trip;pitch for a tent|camping pitch;shower token;load of laundry|wash;haircut for children|child's haircut;bouquet;oil change;tyre change|change of tires;battery replacement|new battery;screen repair|repair of the screen;express delivery|fast shipping;gift wrapping;extra suitcase|additional bag;seat reservation;pet|dog or cat""".split(";"),
    "process": """repair;application|job application;refund|getting money back;visa;security check;delivery|shipping;appeal|an objection;background check;renewal;registration;translation;inspection;exam|test;training course|course;induction|introduction;guided walk|walk;warranty claim;building permit;reimbursement|being paid back;password reset|resetting a password;software update|update;backup;battery charge|charging;cooling phase|cooling down;calibration;first rehearsal|rehearsal;probation|trial period;apprenticeship;internship;medical examination|medical;house viewing|viewing;ferry crossing|crossing by ferry;climb to the summit|ascent;cable car ride|ride in the cable car;boarding;check-in;quarantine;fermentation;drying;reservation|booking;complaint|handling of a complaint;order from abroad|foreign order;scholarship;residence""".split(";"),
    "task": """invoices|bills;travel bookings|booking trips;room bookings|reserving rooms;the newsletter;the website|our web pages;lost property|things that were lost;the payroll|salaries;complaints;new members;volunteers;visits by schools|school visits;the archive;the key register|keys;building maintenance|repairs to the building;data protection|privacy;press inquiries|journalists;the laboratory;the greenhouse;the summer party;fire safety|protection against fire;first aid;the choir;recruitment|hiring;purchasing|orders;company cars|the vehicles;insurance;the cafeteria|the canteen;scholarships;exams;exchange students;the workshop;stage lighting|the lights on stage;rehearsals;membership fees|dues;the boat house;the youth team;referees;the garden;parking|parking spaces;the network|network problems;accessibility|disabled access;waste disposal|rubbish;the library;ticket sales|selling tickets;translations;the budget;contracts;the mailing list;health checks;the nursery|child care;safety at work;printing|printers;the bar;the sound system;the collection;the climbing wall""".split(";"),
    "place": """sauna;gym;reading room;cafeteria|canteen;front desk|reception;ticket office|box office;museum;gallery;climbing hall;ice rink;playground;medical center|clinic;pharmacy;warehouse;loading dock;roof terrace|terrace;garden;computer lab;laboratory;darkroom;kiosk;shop;post room|mail room;bicycle cellar|bike cellar;laundry room|laundry;kitchen;chapel;boat house|boathouse;beach;campsite;cave;castle;observatory;zoo;botanical garden;market;restaurant;bar;cinema;theatre|theater;registry|registry office;car park|parking garage;service desk|help desk;archive;print shop;studio;tennis court;hostel;visitor center;swimming hall;bank counter|counter""".split(";"),
    "object": """first-aid kit|first aid box;fire extinguisher;spare keys|extra keys;defibrillator;projector remote|remote control of the projector;coffee machine;stationery|pens and paper;main switch|main power switch;water tap|stopcock;fuse box;guest book;ladder;lost property box|lost and found;printer paper|paper for the printer;cleaning supplies|cleaning materials;recycling bins;bicycle pump|pump;emergency phone;serial number;reset button;power socket|outlet;filter;manual|instructions;toolbox|tools;safe;keys to the van|van keys;archive boxes|archived files;visitor parking|parking for visitors;assembly point|place to gather;changing rooms;showers;smoking area|place to smoke;nursing room;prayer room;server;notice board|bulletin board;suggestion box;cloakroom|coat check;lockers;ticket machine;bus stop;taxi rank;cash machine|ATM;information desk;lost luggage desk;quiet area|silent zone;dog park;model railway""".split(";"),
    "where": """in the basement;on the second floor;behind the reception desk;next to the main entrance;in room 214;under the stairs;in the cupboard beside the lift;at 27 Harbor Street;on the roof;in the left drawer of the desk;opposite the elevators;near the north gate;in building C;on the back of the device;at the foot of the tower;in the corridor to the gym;above the sink;inside the glass cabinet;at the end of platform 4;on the ground floor of the annex;between the kitchen and the meeting room;in the yard;beside the loading ramp;in the blue container;on the shelf above the printer;at the corner of Mill Road and Elm Street;under the rear cover;in the cellar of the old school;in Room 3.12;at the porter's lodge""".split(";"),
    "act": """smoke|light a cigarette;bring a dog|take my dog along;bring pets|have a cat;take photographs|take pictures;eat|have food;drink alcohol|have a beer;play music|listen to music;cook;use a mobile phone|make phone calls;park|leave my car;camp|put up a tent;swim;ride a bicycle|cycle;fly a drone|use a drone;wear sandals|wear open shoes;receive guests|have visitors;hang up posters|put up posters;charge an electric car|charge my car;use a heater;make a fire|have a campfire;fish|go fishing;barbecue|grill;skate|use a skateboard;sleep|stay overnight;sublet a room|rent out my room;record the lecture|record talks;use a calculator;leave early|go home early;swap shifts|trade a shift;work a second job|have another job;sell tickets on|resell a ticket;cancel a booking|cancel;exchange goods without a receipt|exchange something without a receipt;pay by card|pay with a credit card;pay in cash;transfer the membership|give my membership to someone else;borrow more than one book|take several books;paint the walls|repaint my room;install software|put programs on it;use the company car on weekends|drive the company car privately;work from abroad|work in another country;wear shorts;share a password|tell someone my password;print private documents|print something private""".split(";"),
    "at": """in the building;on the terrace;in the laboratory;in the hall;on the premises|on site;in the garden;after 10 p.m.|late at night;in the reading room;on the platform;during the performance|during a show;in the rooms;on weekends|on a weekend;at the pool;in the library;during the first month|in my first month;on the boat;in the forest;near the entrance;in the kitchen;in the workshop;during lunch;on public holidays|on a holiday""".split(";"),
    "goal": """reset the router|restart the router;change the filter|replace the filter;silence the alarm|turn off the alarm;order a new card|get a new card;book a room|reserve a room;report a fault|tell you about a defect;cancel a subscription|end my subscription;connect the printer|set up the printer;open the gate|get the gate open;update the firmware|install new firmware;lock the keyboard|block the keys;export a list|save a list;join the club|become a member;enroll in a course|sign up for a course;request leave|ask for time off;claim expenses|get expenses back;appeal a grade|object to a grade;delete an account|remove my account;change an address|tell you my new address;pair the headset|connect the headset;clean the nozzle;descale the machine|remove lime;drain the tank|empty the tank;calibrate the scale;start the pump|get the pump running;stop the machine in an emergency|stop it in an emergency;unlock the bike|release the bike;extend a loan|keep a book longer;get a refund|get my money back;transfer a file|send a file;save battery|make the battery last;mute the microphone|turn the microphone off;restore a backup|get a deleted file back;apply for a grant|get a grant;donate blood|give blood;vote by mail|vote from home;adopt an animal|take an animal home""".split(";"),
    "how": """press and hold the red button for five seconds;fill in form B7 and hand it to the office;send a message to the help desk;turn the key to the left;scan the code on the door;call extension 4410;run the command `sync --all`;pull the lever down;log in and choose Settings, then Account;write to the secretary by email;remove the cover and lift the cartridge;hold the card against the reader;switch the device off and on again;open the menu and select Tools;enter the code 1-9-0-7;click the green arrow in the toolbar;ask at the counter with your passport;unplug the cable and wait a minute;add a cup of vinegar and rinse twice;sign the list at the entrance;set the dial to zero;use the app and tap Confirm;bring two photos and the signed contract;type the name into the search box""".split(";"),
    "reason": """the roof leaks;of a strike of the suppliers;of the floods last spring;the lift does not meet the safety rules;the noise disturbed the neighbors;the license expired;bats breed there;spare parts are no longer made;of a lack of staff;the paint has to dry;the soil is contaminated;the insurance demands it;too few people took part;the bridge is being repaired;it overheats in direct sunlight;of an outbreak of flu;the data must not leave the country;the tide is too strong""".split(";"),
    "shut": """west entrance|entrance in the west;swimming pond;upper gallery;old bridge;night bus|bus at night;second lift|other lift;tower;nature trail;east wing;summer course|course in summer;online shop;roof terrace;archive;children's area;laboratory;slide;branch office;climbing route|route for climbers""".split(";"),
    "people": """employees|staff;students;members;visitors|guests;tenants|renters;volunteers;interns|trainees;patients;parents;new hires|new colleagues;part-time staff|part-timers;teachers;drivers;retired members|pensioners;researchers;freelancers;managers|supervisors;nurses;apprentices;residents;passengers;players;exhibitors""".split(";"),
    "right": """study leave|leave for studying;paid leave|paid time off;unpaid leave;volunteer days|days for volunteering;moving days|days off for moving house;home office|working from home;training|further training;sick leave|leave when ill;free parking;overtime leave;language lessons;coaching;access to the laboratory|lab access;storage space;remote work|working remotely;family leave;free printing""".split(";"),
    "room": """lecture hall;conference room|meeting room;auditorium;minibus|van;dining hall;cabin;lecture theatre;gymnasium|gym;ballroom;seminar room;library;dormitory;elevator|lift;tent;ferry;studio;concert hall;cable car;bus;chapel;computer lab""".split(";"),
    "check": """water quality|quality of the water;fire alarm|smoke detectors;brakes;filters;emergency lighting|emergency lights;ladders;password;inventory|stock;playground equipment|equipment on the playground;elevator|lift;boiler|heating;backup;accounts|books;ropes and harnesses|climbing gear;vaccines;hard hats|helmets;first-aid boxes;gas lines;calibration weights;list of members|membership list""".split(";"),
    "bring": """a passport photo;two forms of identification;a signed consent form;sturdy shoes;a towel and a padlock;a proof of address;your student card;a sleeping bag;the original receipt;a letter from your doctor;your insurance card;a reusable cup;a list of your medicines;work gloves and safety goggles;swimwear;a copy of the contract""".split(";"),
    "event": """registration|sign up;first appointment|first visit;excursion|trip;first day of work|first day;exam;climbing course;blood donation|giving blood;hike;school enrollment|enrolling a child;return|returning goods;boat tour;night shift;workshop;interview;check-in;course in pottery|pottery class""".split(";"),
    "bad": """lose your card|lost my card;arrive late|am late;miss an appointment|do not show up;damage equipment|break something;cancel on the same day|cancel at short notice;forget the password|cannot remember my password;hear the alarm|hear an alarm;find a mistake in your payslip|think my pay is wrong;fall ill during vacation|get sick on vacation;smell gas;lose a key|have lost my key;leave the course early|drop out;overstay the parking time|park too long;return an item late|am late bringing something back;see a bear|meet a bear;spill chemicals;fail the test|do not pass;exceed the quota|use up the quota;have an accident;get an error code|see an error""".split(";"),
    "then": """the deposit is not returned;call the duty officer at once;a fee of 12 dollars is charged;leave the building by the nearest stairs;the place goes to the next person on the list;it can be repeated once within a month;tell the office the same day;you receive a temporary one at the desk;open all windows and leave;your account is locked for 24 hours;half of the price is refunded;you pay the replacement value;back away slowly and do not run;the days are credited again;stay with the car and call for help;rinse with water for ten minutes;a written warning follows;the access is slowed down until the end of the month""".split(";"),
    "verdict": """not allowed;allowed;forbidden;permitted;prohibited;possible only with permission;fine as long as nobody is disturbed;banned;not permitted;welcome;allowed with written consent;strictly prohibited;possible at any time""".split(";"),
    "may": """may;may not;must not;can;cannot;are allowed to;are not allowed to""".split(";"),
}

# statement, with the answer in double brackets; questions
FACTS: list[Fact] = [
    ("money", ["A {item} costs [[{money}]].", "The {item} is [[{money}]].", "For a {item} we charge [[{money}]].", "The fee for a {item} is [[{money}]].", "You pay [[{money}]] for a {item}.", "{item}: [[{money}]]", "{item} | [[{money}]] |", "A {item} can be had for [[{money}]], payable in advance.", "{people} get a {item} for [[{money}]].", "The price of a {item} went up to [[{money}]] in {month}."],
     ["How much is a {item}?", "What does a {item} cost?", "How much do I pay for a {item}?", "What is the price of a {item}?", "What do I have to pay for a {item}?", "What's the charge for a {item}?", "How expensive is a {item}?"]),
    ("deposit", ["A deposit of [[{money}]] is required for a {item}.", "We ask for [[{money}]] as a deposit when a {item} is lent.", "Leave [[{money}]] as security for a {item}."],
     ["Is there a deposit on a {item}?", "How high is the deposit for a {item}?", "How much deposit do I leave for a {item}?"]),
    ("discount", ["{people} get a discount of [[{percent}]] on a {item}.", "A {item} is [[{percent}]] cheaper for {people}.", "{people} pay [[{percent}]] less for a {item}."],
     ["How much discount do {people} get on a {item}?", "What reduction is there for {people} on a {item}?", "Do {people} get a discount?"]),
    ("duration", ["A {process} takes [[{duration}]].", "The {process} usually takes [[{duration}]].", "Allow [[{duration}]] for the {process}.", "The {process} lasts [[{duration}]].", "{process}: [[{duration}]]", "It takes [[{duration}]] until the {process} is finished.", "The {process} is complete [[within {duration}]].", "Since {month} a {process} has been taking [[up to {duration}]]."],
     ["How long does the {process} take?", "How long does the {process} last?", "How much time does the {process} need?", "How many days does the {process} take?", "How long do I wait for the {process}?", "What is the duration of the {process}?"]),
    ("ahead", ["The {event} must be booked [[at least {duration} in advance]].", "Announce the {event} [[{duration} ahead]].", "Please register [[no later than {duration} before]] the {event}.", "The {event} can be canceled free of charge [[up to {duration} before]]."],
     ["How far in advance do I announce the {event}?", "How early must I book the {event}?", "When do I have to register for the {event}?", "Until when can I cancel the {event}?"]),
    ("open", ["The {place} opens at [[{time}]].", "The {place} is open from [[{time}]] to {time2}.", "On {day}s the {place} does not open before [[{time}]].", "{place}: opens [[{time}]], closes {time2}"],
     ["When does the {place} open?", "What time does the {place} open?", "From when is the {place} open?", "At what time can I get into the {place}?"]),
    ("close", ["The {place} closes at [[{time}]].", "The {place} is open from {time2} to [[{time}]].", "Doors of the {place} shut at [[{time}]] sharp.", "The {place} is open daily until [[{time}]]."],
     ["When does the {place} close?", "What time does the {place} close?", "Until when is the {place} open?", "How late is the {place} open?"]),
    ("closed day", ["The {place} is closed on [[{day}s]].", "On [[{day}s]] the {place} stays shut.", "The {place} is closed [[in {month}]]."],
     ["When is the {place} closed?", "On which day is the {place} shut?", "Which day is the {place} closed?"]),
    ("event day", ["The {event} takes place on [[{day}]].", "The next {event} is on [[{month} {n}]].", "The {event} is held [[every {day} at {time}]].", "Since {year}, the {event} has been held in [[{month}]].", "The {event} starts at [[{time}]] in the {place}."],
     ["When is the {event}?", "When does the {event} take place?", "On what date is the {event}?", "What time is the {event}?"]),
    ("since", ["The {place} was opened in [[{year}]].", "The {place} was built in [[{year}]] and renovated {n} years later.", "The {place} has existed since [[{year}]]."],
     ["When was the {place} opened?", "In what year was the {place} built?", "Since when has there been a {place}?", "How old is the {place}?"]),
    ("who", ["[[{person}]] is responsible for {task}.", "Contact [[{person}]] about {task}.", "Questions about {task} go to [[{person}]].", "{task}: [[{person}]], extension {n}{n}", "[[{person}]] looks after {task}; {person2} stands in.", "For {task}, see [[{person}]] in room {n}.", "{person2} handed {task} over to [[{person}]] in {year}.", "{task} | [[{person}]] |", "In our team [[{person}]] takes care of {task}."],
     ["Who is responsible for {task}?", "Who takes care of {task}?", "Whom do I ask about {task}?", "Who do I contact about {task}?", "Who handles {task}?", "Who can help me with {task}?", "Which person deals with {task}?", "Who is in charge of {task}?"]),
    ("head", ["The {place} is run by [[{person}]].", "[[{person}]] has led the {place} since {year}.", "Head of the {place} is [[{person}]].", "The {place} was founded by [[{person}]] in {year}."],
     ["Who runs the {place}?", "Who is the head of the {place}?", "Who is in charge of the {place}?"]),
    ("where", ["The {object} is [[{where}]].", "You find the {object} [[{where}]].", "The {object} is kept [[{where}]].", "The {object} was moved and is now [[{where}]].", "{object}: [[{where}]]", "Look [[{where}]] for the {object}.", "There is a {object} [[{where}]]."],
     ["Where is the {object}?", "Where do I find the {object}?", "Where is the {object} kept?", "Where can I find the {object}?", "What is the location of the {object}?"]),
    ("yes", ["To {act} {at} is [[{verdict}]].", "It is [[{verdict}]] to {act} {at}.", "You [[{may} {act}]] {at}.", "{people} [[{may} {act}]] {at}.", "Nobody [[may {act}]] {at}.", "{people} [[may {act}]] {at}, but only with a permit.", "You [[may {act} if the office agrees]] {at}."],
     ["May I {act} {at}?", "Can I {act} {at}?", "Is it allowed to {act} {at}?", "Am I allowed to {act} {at}?", "Are we permitted to {act} {at}?", "Is it okay to {act} {at}?", "Can {people} {act} {at}?"]),
    ("how", ["To {goal}, [[{how}]].", "If you want to {goal}, [[{how}]].", "You {goal} as follows: [[{how}]].", "[[{how}]] to {goal}.", "In order to {goal}, first [[{how}]]."],
     ["How do I {goal}?", "How can I {goal}?", "What do I have to do to {goal}?", "I want to {goal}, what should I do?", "How does one {goal}?"]),
    ("why", ["The {shut} is closed because [[{reason}]].", "Because [[{reason}]], the {shut} is not available.", "The {shut} was shut down in {year}, as [[{reason}]].", "The {shut} cannot be used since [[{reason}]]."],
     ["Why is the {shut} closed?", "Why can't I use the {shut}?", "What is the reason that the {shut} is closed?", "Why was the {shut} shut?"]),
    ("right", ["{people} have [[{days} days]] of {right} a year.", "{people} are entitled to [[{days} days]] of {right}.", "For {people}, {right} is limited to [[{days} hours]] a week.", "{people} get up to [[{duration}]] of {right}.", "After {year2} years {people} have [[{days} days]] of {right}, before that {n}."],
     ["How many days of {right} do {people} get?", "How much {right} do {people} have?", "How much {right} are {people} entitled to?", "What is the limit of {right} for {people}?"]),
    ("holds", ["The {room} holds [[{n} people]].", "The {room} seats [[{n}]].", "There is room for [[{n} persons]] in the {room}.", "The {room} has [[{n} seats]] and was renovated in {year}.", "No more than [[{n} people]] may be in the {room}."],
     ["How many people fit into the {room}?", "How many seats does the {room} have?", "What is the capacity of the {room}?", "How big is the {room}?"]),
    ("often", ["The {check} is checked [[{often}]].", "We inspect the {check} [[{often}]].", "The {check} must be renewed [[{often}]].", "[[{often}]], {person} checks the {check}."],
     ["How often is the {check} checked?", "How often do you check the {check}?", "How frequently is the {check} looked at?"]),
    ("age", ["You must be [[at least {age}]] to {act} {at}.", "The minimum age for the {event} is [[{age}]].", "Children under [[{age}]] are not admitted to the {event}."],
     ["How old must I be for the {event}?", "What is the minimum age for the {event}?", "From what age can one take part in the {event}?", "How old do I have to be to {act}?"]),
    ("bring", ["Bring [[{bring}]] to the {event}.", "For the {event} you need [[{bring}]].", "Please have [[{bring}]] ready at the {event}.", "The {event} requires [[{bring}]]."],
     ["What do I need for the {event}?", "What should I bring to the {event}?", "What is required for the {event}?", "Which things do I need for the {event}?"]),
    ("if", ["If you {bad}, [[{then}]].", "Should you {bad}, [[{then}]].", "For those who {bad}: [[{then}]].", "When you {bad}, [[{then}]]."],
     ["What happens if I {bad}?", "What if I {bad}?", "What do I do when I {bad}?", "I {bad}, what now?"]),
    ("limit", ["Each person may borrow [[up to {n} items]] from the {place}.", "The {place} accepts files of [[at most {n} MB]].", "The speed limit near the {place} is [[{n} km/h]].", "In the {place} it is kept at [[{n} degrees]].", "The {place} is [[{n} meters]] long.", "Parking at the {place} is limited to [[{duration}]]."],
     ["How many items may I borrow from the {place}?", "How large may a file for the {place} be?", "How fast may I drive near the {place}?", "How warm is the {place}?", "How long is the {place}?", "How long may I park at the {place}?"]),
    ("right paid", ["[[The first {duration}]] of {right} are paid in full.", "{right} is paid [[for {duration}]], the rest is unpaid.", "~[[The first {duration}]] are paid in full.", "~It is paid in full [[for {duration}]], whatever the reason.", "~Pay continues [[for {duration}]]."],
     ["How long is {right} paid?", "For how long is {right} paid in full?", "How long do {people} get paid during {right}?", "How many weeks of {right} are paid in full?"]),
    ("right longest", ["{people} may take [[up to {duration}]] of {right}.", "{right} lasts [[at most {duration}]].", "Nobody takes more than [[{duration}]] of {right} at a time.", "~It lasts [[at most {duration}]].", "~It may be extended to [[{duration}]]."],
     ["How long may {right} last?", "How long can I take {right}?", "What is the longest {right}?", "How much {right} can I take at most?"]),
    ("right ahead", ["{right} must be requested [[{duration} in advance]].", "Announce {right} [[at least {duration} ahead]].", "~Tell your manager [[{duration} before]] it begins.", "~Let us know [[{duration}]] before.", "~Apply [[no later than {duration} before]] the first day."],
     ["When do I have to announce {right}?", "How far in advance do I request {right}?", "When must I ask for {right}?", "How early do I apply for {right}?", "How much notice do you need for {right}?"]),
    ("right who", ["{right} is approved by [[{person}]].", "Requests for {right} go to [[{person}]].", "~Ask [[{person}]] for it.", "~[[{person}]] has to agree."],
     ["Who approves {right}?", "Whom do I ask for {right}?", "Who decides about {right}?"]),
    ("right after", ["{right} is available [[after {duration}]] with us.", "Only {people} who have been here [[for {duration}]] get {right}.", "~You are eligible [[after {duration}]].", "~It begins to apply [[after {duration}]] in the job."],
     ["When am I eligible for {right}?", "After how long do I get {right}?", "How long must I have been here to get {right}?", "Who can get {right} and when?"]),
    ("right carried", ["Unused {right} expires [[at the end of {month}]].", "{right} that was not used can be carried over [[until {month}]].", "~What is left over expires [[in {month}]].", "~The rest can be used [[until the end of {month}]]."],
     ["Until when can I carry over {right}?", "When does unused {right} expire?", "What happens to {right} that I do not use?"]),
    ("process price", ["The {process} costs [[{money}]].", "We charge [[{money}]] for the {process}.", "~It costs [[{money}]].", "~The fee is [[{money}]]."],
     ["How much does the {process} cost?", "What is the price of the {process}?", "What do I pay for the {process}?"]),
    ("process who", ["[[{person}]] is in charge of the {process}.", "The {process} is in the hands of [[{person}]].", "~[[{person}]] takes care of it."],
     ["Who is in charge of the {process}?", "Who does the {process}?"]),
    ("process start", ["The {process} starts [[on {day}]].", "The {process} begins [[{duration} after]] the request.", "~It starts [[{duration} after]] we have all papers."],
     ["When does the {process} start?", "When does the {process} begin?"]),
    ("item keep", ["A {item} can be kept for [[{duration}]].", "Return the {item} [[within {duration}]].", "~Bring it back [[within {duration}]].", "~You may keep it [[for {duration}]]."],
     ["How long may I keep a {item}?", "When do I have to return the {item}?", "For how long can I borrow a {item}?"]),
    ("item late", ["For a {item} that comes back late, [[{money}]] a day is charged.", "The late fee for a {item} is [[{money}]].", "~Each day of delay costs [[{money}]]."],
     ["What does it cost if the {item} comes back late?", "How high is the late fee for a {item}?", "What do I pay if I return the {item} too late?"]),
    ("event lasts", ["The {event} lasts [[{duration}]].", "Plan [[{duration}]] for the {event}.", "~It lasts [[{duration}]].", "~It is over after [[{duration}]]."],
     ["How long does the {event} last?", "How much time does the {event} take?", "How long is the {event}?"]),
    ("event price", ["The {event} costs [[{money}]].", "The fee for the {event} is [[{money}]].", "~Taking part costs [[{money}]].", "~The price is [[{money}]]."],
     ["What does the {event} cost?", "How much is the {event}?", "What is the fee for the {event}?"]),
    ("event most", ["At most [[{n} people]] take part in the {event}.", "~There are [[{n} places]]."],
     ["How many people can take part in the {event}?", "How many places does the {event} have?"]),
    ("event lead", ["[[{person}]] leads the {event}.", "~[[{person}]] is the guide."], ["Who leads the {event}?", "Who is in charge of the {event}?"]),
    ("place number", ["The {place} has the telephone number [[{n}{n} {n}]].", "~Call [[extension {n}{n}]]."], ["What is the telephone number of the {place}?", "How can I call the {place}?"]),
    ("place price", ["Admission to the {place} is [[{money}]].", "~A ticket costs [[{money}]].", "~Entry costs [[{money}]]."], ["What is the admission to the {place}?", "How much does it cost to get into the {place}?", "What is the entry fee of the {place}?"]),
]
FILLERS = """Please keep this page in mind.;Thank you for your help.;Details are on the notice board.;The rules were last changed in {year}.;If in doubt, ask {person}.;This applies to {people} as well.;Exceptions are decided by {person}.;We are glad that you are here.;Many have asked about this.;It has been like that since {year}.;A list hangs in the {place}.;The {place} was renovated in {year} for {money}.;In {month} there are fewer visitors.;The team meets on {day}s.;Further questions are answered at the {place}.;Nothing else is needed.;We review this once a year.;Last year {n} people took part.;{person} and {person2} wrote this text.;Some of this will change in {month}.""".split(";")
# fmt: on
_PARTS = re.compile(r"\{(\w+)\}")
_PLAIN = str.maketrans("", "", "[]")
_PAIRED = {"limit"}  # each question fits the statement at its position alone


def _value(name: str, chance: random.Random) -> str:
    number, word = chance.randint(2, 95), chance.choice(_NUMBERS)
    count = chance.choice([str(chance.randint(2, 30)), word])
    money = chance.choice(
        [number, number * 10, f"{number}.50", f"{chance.randint(1, 9)},{number:02}0"]
    )
    unit = chance.choice("days weeks months hours minutes years".split())
    hour, minute = chance.randint(6, 22), chance.choice(["00", "15", "30", "45"])
    half, short = ("a.m.", "am") if hour < 12 else ("p.m.", "pm")
    forms = {
        "money": f"${money};{money} dollars;{money} euros;€{money};{money} pounds;£{money};"
        f"{number} cents;nothing;{word} euros",
        "percent": f"{number} %;{number}%;{number} percent;half the price",
        "duration": f"{count} {unit};{count} {unit};{count} working days;about {count} {unit};"
        f"{count} to {chance.randint(31, 60)} {unit};half an hour;a week;one month;"
        "a year and a half",
        "time": f"{hour}:{minute};{hour % 12 or 12} {short};{hour % 12 or 12}:{minute} {half};"
        "noon;midnight",
        "person": ";".join(
            f"{title}{chance.choice(_FIRST)} {chance.choice(_LAST)}"
            for title in ("", "", "", "", "Dr. ", "Ms. ")
        ),
        "day": ";".join(_DAYS),
        "month": ";".join(_MONTHS),
        "year": str(chance.randint(1880, 2026)),
        "days": count,
        "n": str(number),
        "age": f"{chance.randint(6, 21)};{word};{chance.randint(6, 21)} years old",
        "often": f"every {count} {unit};once a year;twice a week;daily;every quarter;monthly;"
        f"every {chance.choice(_DAYS)};three times a year;each spring",
    }
    return chance.choice(forms[name.rstrip("2")].split(";"))


def _fill(chance: random.Random) -> dict[str, str]:
    """A value for every slot."""
    names = "money percent duration time time2 person person2 day month year year2 days n age often"
    filled = {name: _value(name, chance) for name in names.split()}
    filled["year2"] = str(chance.randint(2, 20))
    return filled | {name: chance.choice(values).strip() for name, values in SLOTS.items()}


def _worded(template: str, values: dict[str, str], chance: random.Random) -> str:
    """The template with its slots filled, each by one of its wordings."""

    def fill(found: re.Match[str]) -> str:
        return chance.choice(values[found[1]].split("|"))

    text = _PARTS.sub(fill, template)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    first = re.search(r"\w", text)
    return (
        text
        if first is None
        else text[: first.start()] + text[first.start() :][:1].upper() + text[first.start() + 1 :]
    )


def _passage(parts: list[str], chance: random.Random) -> str:
    """Sentences in random order, as prose, as a list, or in lines."""
    chance.shuffle(parts)
    sentences = [sentence for part in parts for sentence in part.split("~")]
    form = chance.random()
    if form < 0.7:
        joined = [s if s.endswith((".", "|")) else s + "." for s in sentences]
        text = joined[0]
        for sentence in joined[1:]:
            text += chance.choice([" ", " ", " ", "\n", "\n\n"]) + sentence
        return text
    mark = chance.choice(["- ", "* ", "", "| "])
    return "\n".join(mark + sentence for sentence in sentences)


def handbook_pair(chance: random.Random) -> Pair:
    """A question with a made-up passage; one in four does not hold the answer."""
    fact = chance.choice([one for one in FACTS if one[0] not in _PAIRED] * 4 + FACTS)
    values = _fill(chance)
    statement, question = chance.choice(fact[1]), chance.choice(fact[2])
    if fact[0] in _PAIRED:
        statement, question = chance.choice(list(zip(fact[1], fact[2], strict=True)))
    asked = _PARTS.findall(question)
    named = [n for n in dict.fromkeys(asked) if statement[0] == "~" or "{" + n + "}" in statement]
    if not named:
        return handbook_pair(chance)
    same = {name: values[name] for name in named}
    held = chance.random() < 0.75
    about = _about(fact, same, chance)
    others = _others(fact, same, chance)
    if statement[0] == "~" and about:  # directly behind a sentence that names the subject
        about[0] += _worded(statement, values, chance) if held else ""
    elif statement[0] == "~":
        return handbook_pair(chance)
    elif held:
        others.append(_worded(statement, values, chance))
    if not about and not others:
        return handbook_pair(chance)
    text = _passage([*about, *others], chance)
    span = (text.index("[["), text.index("]]") - 2) if held else None
    text = text.replace("[[", "").replace("]]", "")
    words = _worded(question, values, chance)
    words = words.rstrip("?") if chance.random() < 0.2 else words
    headings = [_worded("The {" + name + "}", values, chance) for name in named]
    headings += ["", _worded("{place}", _fill(chance), chance), "Rules", "House rules > General"]
    return Pair(words, chance.choice(headings), text, span)


def _about(fact: Fact, same: dict[str, str], chance: random.Random) -> list[str]:
    """Statements of other forms about the subject; those that do not name it follow the first."""
    name = next(iter(same))
    others = [one for one in FACTS if one[0] != fact[0] and "{" + name + "}" in one[2][0]]
    chance.shuffle(others)
    found: list[str] = []
    for one in others[: chance.randint(0, 4)]:
        statement = chance.choice([s for s in one[1] if s[0] != "~"] if not found else one[1])
        text = _worded(statement, _fill(chance) | same, chance).translate(_PLAIN)
        if statement[0] == "~":
            found[0] += text
        elif "{" + name + "}" in statement:
            found.append(text)
    return found


def _others(fact: Fact, named: dict[str, str], chance: random.Random) -> list[str]:
    """Statements of the same form about something else, of other forms, and fillers."""
    others = []
    for _ in range(chance.randint(0, 3)):
        different = _fill(chance)
        if all(different[name] != value for name, value in named.items()):
            others.append(_worded(_naming(fact, chance), different, chance))
    for _ in range(chance.randint(1, 5)):
        other = chance.choice(FACTS)
        if other[0] != fact[0]:
            others.append(_worded(_naming(other, chance), _fill(chance), chance))
    for _ in range(chance.randint(0, 2)):
        others.append(_worded(chance.choice(FILLERS), _fill(chance), chance))
    return [one.translate(_PLAIN) for one in others]


def _naming(fact: Fact, chance: random.Random) -> str:
    """A statement that names its subject."""
    return chance.choice([one for one in fact[1] if one[0] != "~"])


def handbook_pairs(count: int, chance: random.Random) -> list[Pair]:
    """Return `count` pairs."""
    return [handbook_pair(chance) for _ in range(count)]
