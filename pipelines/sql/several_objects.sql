-- Which images have several objects, and of how many classes?
SELECT image_id, split, COUNT(*) AS objects, COUNT(DISTINCT class_name) AS classes
FROM objects
GROUP BY image_id, split
HAVING COUNT(*) > 1
ORDER BY objects DESC, classes DESC, image_id
LIMIT 50;
